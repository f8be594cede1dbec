//! What goes back to the source: messages in order, and the latest acknowledgement. An acknowledgement leaves after the
//! messages about the records that it covers.

use parking_lot::{Condvar, Mutex, MutexGuard};
use platform::machine;
use platform::wire::{Batch, write_message};
use protocol::{Ack, Busy, Frame, Message, SeqNo};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Messages that may wait; whoever posts one more waits. A source that does not read what it asked for cannot fill
/// memory.
const MAX_MESSAGES: usize = 16;
/// An acknowledgement leaves at least this often, as long as the applier is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// An applier that is at one thing for this long is said to be (`Busy`), in place of an acknowledgement that has no news.
const LONG: Duration = Duration::from_secs(2);
/// A source that does not understand that is told nothing any more after this, and takes the target for gone. A sync of a slow disk
/// may take seconds.
const STUCK: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Message>,
    closed: bool,
    /// Counts the runs of numbers of this session; zero before one has begun: positions are of another run then, and
    /// are not told.
    run: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// What the source knows from the greeting.
    known: Ack,
    inner: Mutex<Inner>,
    room: Condvar,
    wake: Notify,
    applied: AtomicU64,
    durable: AtomicU64,
    began: Instant,
    /// Milliseconds after `began` at which the applier was last seen alive.
    alive_ms: AtomicU64,
    /// What the applier is at, and since when.
    at: Mutex<Option<(SeqNo, Instant)>>,
    /// What is synced beside it for longest, and since when.
    syncing: Mutex<Option<(SeqNo, Instant)>>,
    /// The source understands `Busy`.
    says_busy: bool,
}

impl Outbox {
    /// `position`: the applied and durable numbers where the source goes on. `says_busy`: it is told what takes long.
    pub fn new(position: Option<(u64, u64)>, says_busy: bool) -> Self {
        let (applied, durable) = position.unwrap_or_default();
        Self {
            known: Ack { applied: SeqNo::new(applied), durable: SeqNo::new(durable) },
            inner: Mutex::new(Inner { run: u32::from(position.is_some()), ..Inner::default() }),
            room: Condvar::new(),
            wake: Notify::new(),
            applied: AtomicU64::new(applied),
            durable: AtomicU64::new(durable),
            began: Instant::now(),
            alive_ms: AtomicU64::new(0),
            at: Mutex::new(None),
            syncing: Mutex::new(None),
            says_busy,
        }
    }

    /// A run of numbers begins; the replica's own books have it already.
    pub fn begin(&self) {
        let mut inner = self.inner.lock();
        inner.run += 1;
        self.applied.store(0, Ordering::Release);
        self.durable.store(0, Ordering::Release);
    }

    /// Which run of numbers of this session positions belong to now; zero before there is one.
    pub fn run_now(&self) -> u32 {
        self.inner.lock().run
    }

    /// Sends a message, waiting while too many wait. Dropped where the connection has ended.
    pub fn post(&self, message: Message) {
        let mut inner = self.inner.lock();
        while inner.messages.len() >= MAX_MESSAGES && !inner.closed {
            if machine::is_simulated() {
                MutexGuard::unlocked(&mut inner, || machine::wait(HEARTBEAT, false));
            } else {
                self.room.wait(&mut inner);
            }
        }
        if !inner.closed {
            inner.messages.push_back(message);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Sends a message if there is room and the connection has not ended.
    pub fn try_post(&self, message: Message) {
        let mut inner = self.inner.lock();
        if inner.messages.len() < MAX_MESSAGES && !inner.closed {
            inner.messages.push_back(message);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Everything up to this is applied. Leaves with the next [`Self::poke`] or heartbeat.
    pub fn applied(&self, seq: u64) {
        self.applied.store(seq, Ordering::Release);
        self.alive();
    }

    /// Everything up to this is durable; leaves at once. `run`: what [`Self::run_now`] was before this was found.
    pub fn durable(&self, seq: u64, run: u32) {
        let inner = self.inner.lock();
        if run == inner.run && run > 0 {
            self.durable.store(seq, Ordering::Release);
            drop(inner);
            self.poke();
        }
    }

    /// Sends an acknowledgement now if there is news.
    pub fn poke(&self) {
        self.wake.notify_one();
    }

    /// The applier is alive.
    pub fn alive(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive_ms.store(ms, Ordering::Relaxed);
    }

    /// The applier begins a try of this record; zero: something else that may take long.
    pub fn at(&self, seq: SeqNo) {
        *self.at.lock() = Some((seq, Instant::now()));
    }

    /// The applier waits for work.
    pub fn at_rest(&self) {
        *self.at.lock() = None;
        self.alive();
    }

    /// What is synced beside the applier, and is the oldest of it.
    pub fn syncing(&self, oldest: Option<(SeqNo, Instant)>) {
        *self.syncing.lock() = oldest;
    }

    /// What the applier has been at for long, or is being synced beside it.
    fn busy(&self) -> Option<Busy> {
        let (at, syncing) = (*self.at.lock(), *self.syncing.lock());
        let long = |(_, since): &(SeqNo, Instant)| self.says_busy && since.elapsed() >= LONG;
        let (seq, since) = [syncing, at].into_iter().flatten().find(long)?;
        Some(Busy { seq, for_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }

    /// Both positions as they would be acknowledged now.
    pub fn ack(&self) -> Ack {
        // The applied position is read last: what is durable is always applied.
        let durable = self.durable.load(Ordering::Acquire);
        let applied = self.applied.load(Ordering::Acquire);
        Ack { applied: SeqNo::new(applied), durable: SeqNo::new(durable.min(applied)) }
    }

    /// Nothing comes any more; what waits is still sent.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.room.notify_all();
        self.wake.notify_one();
    }

    /// Sends until closed, then ends the stream.
    pub async fn run(&self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        let result = self.send(&mut writer).await;
        if result.is_err() {
            self.inner.lock().messages.clear();
            self.close();
        }
        result
    }

    /// What is to leave now: the messages, then the positions, which cover no record of which a message is still here; and whether nothing comes any more.
    pub fn gather(&self) -> (VecDeque<Message>, Ack, bool) {
        // In this order: the messages about what the acknowledgement covers are then among the messages taken.
        let ack = self.ack();
        let (messages, closed) = {
            let mut inner = self.inner.lock();
            (std::mem::take(&mut inner.messages), inner.closed)
        };
        self.room.notify_all();
        (messages, ack, closed)
    }

    async fn send(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut sent = self.known;
        let mut last = Instant::now();
        loop {
            let (messages, ack, closed) = self.gather();
            let mut said = !messages.is_empty();
            let mut farewell = false;
            let mut batch = Batch::default();
            for message in messages {
                farewell |= matches!(message, Message::ByeAck(_) | Message::Refused(_));
                let frame = Frame::encode(&message);
                if !batch.push(&frame) {
                    batch.write(writer).await?;
                    writer.write_all(&frame.payload).await?;
                } else if batch.is_full() {
                    batch.write(writer).await?;
                }
            }
            batch.write(writer).await?;
            if farewell {
                writer.flush().await?;
                writer.shutdown().await?;
                // Whatever is posted from now on has nowhere to go.
                self.close();
                return Ok(());
            }
            let (due, busy) = (last.elapsed() >= HEARTBEAT, self.busy());
            let life = match busy {
                Some(busy) => due.then_some(Message::Busy(busy)),
                None => (due && self.is_alive()).then_some(Message::Ack(ack)),
            };
            let news = (ack != sent).then_some(Message::Ack(ack));
            if let Some(message) = news.or(life) {
                write_message(writer, &message).await?;
                (sent, said) = (ack, true);
                last = Instant::now();
            }
            if said {
                writer.flush().await?;
            }
            if closed {
                return writer.shutdown().await;
            }
            // Time-out or waking: either way the state is looked at again.
            let _ =
                tokio::time::timeout(HEARTBEAT.saturating_sub(last.elapsed()).max(FLOOR), self.wake.notified()).await;
        }
    }

    /// With `Busy` nothing is left to guess: an applier that dies ends the session.
    fn is_alive(&self) -> bool {
        if self.says_busy {
            return true;
        }
        self.began.elapsed().saturating_sub(Duration::from_millis(self.alive_ms.load(Ordering::Relaxed))) < STUCK
    }
}

/// The shortest wait for a heartbeat that is due, so that a stuck applier does not make a busy loop.
const FLOOR: Duration = Duration::from_millis(100);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::{Trouble, TroubleKind};

    #[test]
    fn a_durable_position_of_another_run_of_numbers_is_never_told() {
        let outbox = Outbox::new(None, true);
        let run = outbox.run_now();
        outbox.durable(5000, run);
        outbox.begin();
        // A sync that began before the run did ends after that.
        outbox.durable(5000, run);
        outbox.applied(6000);
        assert_eq!(outbox.ack().durable, SeqNo::ZERO);
        outbox.durable(5999, outbox.run_now());
        assert_eq!(outbox.ack(), Ack { applied: SeqNo::new(6000), durable: SeqNo::new(5999) });
    }

    #[tokio::test]
    async fn what_is_said_of_a_record_leaves_before_its_acknowledgement() {
        let outbox = Outbox::new(Some((0, 0)), true);
        outbox.post(Message::Trouble(Trouble {
            seq: SeqNo::new(1),
            kind: TroubleKind::Damaged,
            path: None,
            text: String::new(),
        }));
        outbox.applied(1);
        outbox.close();
        let mut sent = Vec::new();
        outbox.run(&mut sent).await.unwrap();
        let mut sent = &sent[..];
        let first = platform::wire::read_message(&mut sent).await.unwrap();
        let second = platform::wire::read_message(&mut sent).await.unwrap();
        assert!(matches!((first, second), (Some(Message::Trouble(_)), Some(Message::Ack(_)))));
    }

    #[tokio::test]
    async fn an_applier_that_is_long_at_one_record_is_said_to_be_and_no_acknowledgement_speaks_for_it() {
        for understood in [true, false] {
            let mut outbox = Outbox::new(Some((6, 6)), understood);
            let long_ago = Instant::now().checked_sub(Duration::from_secs(20)).unwrap();
            (outbox.began, *outbox.at.lock()) = (long_ago, Some((SeqNo::new(7), long_ago)));
            let mut sent = Vec::new();
            let running = tokio::time::timeout(HEARTBEAT + FLOOR * 3, outbox.run(&mut sent)).await;
            assert!(running.is_err(), "nothing ends it");
            let heard = platform::wire::read_message(&mut &sent[..]).await.unwrap();
            match heard {
                Some(Message::Busy(busy)) => assert!(understood && busy.seq == SeqNo::new(7) && busy.for_ms >= 20_000),
                other => assert!(!understood && other.is_none(), "{other:?}"),
            }
            outbox.at_rest();
            assert_eq!(outbox.busy(), None);
        }
    }
}
