//! Connections: bytes on their way in both directions, what has arrived and is not a whole message yet, and who knows of an end. A connection keeps the order of what
//! it carries; all else it may do.

use super::wire::Line;
use protocol::frame::HEAD_BYTES;
use protocol::{Frame, FrameError, Head, Message};
use scm::stepped::Stepped as Teller;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use target::stepped::{Aside, Stepped};

/// One connection.
#[allow(clippy::struct_excessive_bools)] // independent facts
pub(super) struct Conn {
    /// Of the source's side.
    pub generation: u64,
    pub run: u128,
    /// How the source tells what it sends.
    pub teller: Teller,
    /// On its way to the target, and to the source.
    pub up: Line,
    pub down: VecDeque<u8>,
    /// Nothing comes behind those.
    pub up_over: bool,
    pub down_over: bool,
    /// Arrived at the target before the greeting was whole; arrived at the source, and no whole message.
    pub greeting: Vec<u8>,
    pub heard: Vec<u8>,
    pub session: Option<Stepped>,
    pub aside: Option<Aside>,
    pub greeted: bool,
    pub welcomed: bool,
    /// The source has it.
    pub open: bool,
    /// A byte of what was sent became another one.
    pub corrupted: bool,
    /// Nothing more is sent.
    pub broken: bool,
    /// Nothing arrives in either direction, but late.
    pub lost: bool,
    pub heard_at: Instant,
    pub said_at: Instant,
    /// When the source last said something, and since when it holds something back.
    pub sent_at: Instant,
    pub gathers_since: Option<Instant>,
    /// How many records before each one that was sent may still be synced when it is applied.
    pub besides: HashMap<u64, u64>,
    /// The last number that was sent.
    pub sent: Option<u64>,
    /// Whole frames that arrived, newest last.
    pub delivered: VecDeque<u8>,
    /// All that arrived ends with a whole frame.
    pub whole: bool,
}

impl Conn {
    pub fn new(generation: u64, run: u128, teller: Teller, now: Instant) -> Self {
        Self {
            generation,
            run,
            teller,
            up: Line::default(),
            down: VecDeque::new(),
            up_over: false,
            down_over: false,
            greeting: Vec::new(),
            heard: Vec::new(),
            session: None,
            aside: None,
            greeted: false,
            welcomed: false,
            open: true,
            corrupted: false,
            broken: false,
            lost: false,
            heard_at: now,
            said_at: now,
            sent_at: now,
            gathers_since: None,
            besides: HashMap::new(),
            sent: None,
            delivered: VecDeque::new(),
            whole: true,
        }
    }
}

/// What is between the two sides. The last connection is the newest.
#[derive(Default)]
pub(super) struct Net {
    pub conns: Vec<Conn>,
    /// Nothing arrives at the target; at the source.
    pub cut_up: bool,
    pub cut_down: bool,
}

impl Net {
    /// The connection that the source has.
    pub fn open(&mut self) -> Option<&mut Conn> {
        self.conns.last_mut().filter(|conn| conn.open)
    }

    /// The place of a connection with something that can still be applied.
    pub fn applying(&self) -> Option<usize> {
        self.conns.iter().rposition(|conn| conn.session.as_ref().is_some_and(|session| !session.is_over()))
    }
}

/// So many eighths of what is there.
pub(super) fn part(bytes: &mut VecDeque<u8>, eighths: usize) -> Vec<u8> {
    let many = (bytes.len() * eighths.min(8)).div_ceil(8);
    bytes.drain(..many).collect()
}

/// The bytes of a message.
pub(super) fn bytes_of(message: &Message) -> Vec<u8> {
    let frame = Frame::encode(message);
    [&frame.front[..], &frame.payload[..]].concat()
}

/// Takes the first whole message, if there is one.
pub(super) fn next_message(bytes: &mut Vec<u8>) -> Result<Option<Message>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let head = Head::parse(head)?;
    let (header, payload) = (head.header_len(), head.payload_len());
    if rest.len() < header + payload {
        return Ok(None);
    }
    head.check_front(&rest[..header])?;
    let message = head.message(&rest[..header], rest[header..header + payload].to_vec().into())?;
    bytes.drain(..HEAD_BYTES + header + payload);
    Ok(Some(message))
}
