//! What arrives where fronts may be short.

use crate::frame::{at_once, read_one};
use bytes::BytesMut;
use platform::wire::{Messages, WireError};
use protocol::short::Shortener;
use protocol::{Features, Frame, Message};

/// Twice: as what a source sends where fronts may be short; and as frames, sent so, which have to come back.
pub fn short(bytes: &[u8]) {
    let (read, _) = messages(bytes);
    comes_back(&read);
    let (mut left, mut whole) = (bytes, Vec::new());
    while let Some(Ok(message)) = read_one(&mut left) {
        whole.push(message);
    }
    comes_back(&whole);
}

/// These messages, sent with short fronts and read again.
fn comes_back(wanted: &[Message]) {
    let (mut shortener, mut sent) = (Shortener::default(), BytesMut::new());
    for message in wanted {
        let Frame { front, payload } = Frame::encode(message);
        shortener.put(&front, &mut sent);
        sent.extend_from_slice(&payload);
    }
    let (read, error) = messages(&sent);
    assert!(read == wanted && error.is_none(), "sent short and read again: {error:?}");
}

fn messages(bytes: &[u8]) -> (Vec<Message>, Option<WireError>) {
    let (mut messages, mut read) = (Messages::new(bytes, Features::SHORT), Vec::new());
    loop {
        match at_once(messages.next()) {
            Ok(Some(heard)) => read.push(heard.into()),
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
    }
}
