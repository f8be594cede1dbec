//! What comes from the source after its Hello: checked, put in order, and handed to the applier.

use crate::admit::refused;
use crate::check::check;
use crate::queue::{Item, Queue};
use crate::status::Facts;
use platform::inlet::Inlet;
use platform::wire::{Heard, Messages, WireError};
use protocol::{FrameError, Message, RefusalCode, Refused, SeqNo};
use std::io;
use std::sync::Arc;

/// How reading ended.
pub(crate) enum End {
    /// The stream ended, after a Bye or without.
    Closed,
    /// The stream failed.
    Lost(io::Error),
    /// The source is told why, and the connection ends.
    Refused(Refused),
    /// The session was ended from here: another one of the same source, or the target shuts down.
    Cancelled,
}

/// The receiving half of a session.
pub(crate) struct Inbox {
    pub queue: Arc<Queue>,
    pub facts: Arc<Facts>,
    /// The last number received; `None` until a run of numbers begins with the first record.
    pub received: Option<u64>,
}

impl Inbox {
    /// Reads messages until the stream ends. Never waits for anything but room in the queue.
    pub async fn receive(&mut self, reader: &mut Messages<impl Inlet>) -> End {
        let mut goodbye = false;
        loop {
            let (record, payload) = match reader.next().await {
                Ok(Some(Heard::Record(record, payload))) if !goodbye => (record, payload),
                Ok(Some(Heard::Other(Message::Heartbeat))) => continue,
                Ok(Some(Heard::Other(Message::Bye))) if !goodbye => {
                    goodbye = true;
                    if !self.queue.push(Item::Bye).await {
                        return End::Closed;
                    }
                    continue;
                }
                Ok(Some(_)) => return End::Refused(refused(RefusalCode::Protocol, "a message out of order")),
                Ok(None) => return End::Closed,
                // After its goodbye a source may just go.
                Err(WireError::Io(_)) if goodbye => return End::Closed,
                Err(WireError::Io(e)) => return End::Lost(e),
                Err(WireError::Frame(e)) => return End::Refused(unreadable(&e)),
            };
            self.facts.update(|s| s.bytes_received += payload.len() as u64);
            if let Err(why) = check(&record, &payload) {
                let why = format!("operation {}: {why}", record.seq);
                return End::Refused(refused(RefusalCode::Protocol, why));
            }
            match self.place_of(record.seq) {
                Ok(Some(starts)) => {
                    if !self.queue.push(Item::Record { record, payload, starts }).await {
                        return End::Closed;
                    }
                }
                // It was applied before.
                Ok(None) => {}
                Err(why) => return End::Refused(why),
            }
        }
    }

    /// Whether a record is new, and if so, whether a run of numbers begins with it.
    fn place_of(&mut self, seq: SeqNo) -> Result<Option<bool>, Refused> {
        let starts = self.received.is_none();
        let last = self.received.unwrap_or(seq.prev().get());
        if seq == SeqNo::ZERO {
            return Err(refused(RefusalCode::Protocol, "an operation without a number"));
        }
        if seq.get() <= last {
            return Ok(None);
        }
        if seq.get() != last + 1 {
            return Err(refused(RefusalCode::Protocol, format!("operation {seq} came after {last}")));
        }
        self.received = Some(seq.get());
        Ok(Some(starts))
    }
}

pub(crate) fn unreadable(error: &FrameError) -> Refused {
    let code = if matches!(error, FrameError::Version(_)) { RefusalCode::Version } else { RefusalCode::Protocol };
    refused(code, format!("unreadable frame: {error}"))
}
