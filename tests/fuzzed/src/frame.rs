//! What arrives from a peer: frames one after the other, and one record or piece with what a target asks of it.

use bytes::Bytes;
use platform::wire::{WireError, read_message};
use protocol::frame::HEAD_BYTES;
use protocol::{Frame, Message};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Frames one after the other, through the reader that a connection has.
pub fn frame(bytes: &[u8]) {
    read_all(bytes);
    read_all(&summed(bytes));
}

/// A record or a piece. Byte 0: bit 0, a piece; byte 1: flags; bytes 2 and 3: length of the payload; 4 to 12: number; then header and payload.
pub fn record(bytes: &[u8]) {
    let Some((front, rest)) = bytes.split_at_checked(12) else { return };
    let payload_len = usize::from(u16::from_le_bytes([front[2], front[3]])).min(rest.len());
    let header_len = rest.len() - payload_len;
    let mut frame = vec![b'R', b'F', protocol::VERSION, if front[0] & 1 == 0 { 4 } else { 17 }, 0, front[1], 0, 0];
    for len in [header_len, payload_len] {
        frame.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
    frame.extend_from_slice(&front[4..12]);
    frame.resize(HEAD_BYTES, 0);
    frame.extend_from_slice(rest);
    sum_frame(&mut frame, header_len, payload_len);
    let Some(Ok(message)) = read_one(&mut &frame[..]) else { return };
    let checked = match &message {
        Message::Record(record, payload) => target::edge::record(record, &payload.clone().into()),
        Message::Piece(_, op, payload) => target::edge::piece(op, &payload.clone().into()),
        other => panic!("a record became {other:?}"),
    };
    if checked.is_ok() {
        comes_back(&message);
    }
}

fn read_all(bytes: &[u8]) {
    let mut left = bytes;
    while let Some(Ok(message)) = read_one(&mut left) {
        comes_back(&message);
    }
}

/// One message; `None` where the bytes ended between two.
pub fn read_one(left: &mut &[u8]) -> Option<Result<Message, WireError>> {
    at_once(read_message(left)).transpose()
}

/// What is read of memory, which is there.
pub fn at_once<T>(reading: impl Future<Output = T>) -> T {
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("bytes in memory are there at once"),
    }
}

/// What was believed is the same when it is written and read again.
fn comes_back(message: &Message) {
    let Frame { front, payload } = Frame::encode(message);
    let bytes = Bytes::from([front, payload].concat());
    match read_one(&mut &bytes[..]) {
        Some(Ok(again)) => assert_eq!(&again, message, "written and read again"),
        other => panic!("{message:?} was written and read again as {other:?}"),
    }
}

/// The same bytes with the checksums of every whole frame made right.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while bytes.len() - at >= HEAD_BYTES {
        let (header, payload) = (crate::word(&bytes, at + 8), crate::word(&bytes, at + 12));
        let Some(len) = header.checked_add(payload).and_then(|len| len.checked_add(HEAD_BYTES)) else { break };
        if len > bytes.len() - at {
            break;
        }
        sum_frame(&mut bytes[at..at + len], header, payload);
        at += len;
    }
    bytes
}

/// Makes both checksums of one frame right.
pub fn sum_frame(frame: &mut [u8], header: usize, payload: usize) {
    let front = HEAD_BYTES + header;
    crate::sum(frame, front, front + payload, 40);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..44]), &frame[HEAD_BYTES..front]);
    frame[44..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
}
