//! Lanes: connections of their own over which content comes into staging files, beside the session. Each has its own
//! bounded queue and its own thread; no lane waits for the applier or for another lane, and the applier for none (R6).
//!
//! A lane lives within a session: it is let in while that session goes on, and has ended before the next one begins. One
//! connection per lane number: a new one is answered when the earlier one is over, so that what a source sends again can
//! never be followed by what it sent before.

use crate::admit::{refused, speaks};
use crate::apply::FaultKind;
use crate::check::check_piece;
use crate::error::TargetError;
use crate::home::Home;
use crate::inbox::{End, unreadable};
use crate::peer::Peer;
use crate::root::{STOP_TIMEOUT, Target};
use crate::session::{FAREWELL_TIMEOUT, finished, listen_out, refuse};
use crate::status::Facts;
use parking_lot::Mutex;
use platform::inlet::Inlet;
use platform::parts::Parts;
use platform::wire::{Batch, Heard, Messages, WireError, write_message};
use protocol::{
    Features, Frame, LaneAck, LaneHello, MAX_LANES, Message, PieceAnswer, PieceOp, RefusalCode, Refused, VERSION,
};
use std::collections::BTreeMap;
use std::io;

use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// Pieces that may wait for a lane's thread, and answers that may wait for the network.
const QUEUE: usize = 4;
/// Something is said at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The lanes of one session.
#[derive(Debug)]
pub(crate) struct Lanes {
    home: Arc<Home>,
    facts: Arc<Facts>,
    /// How what comes over them is coded: as on the session.
    agreed: Features,
    /// One lane is let in at a time.
    admission: tokio::sync::Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The session is over: none is let in.
    ended: bool,
    open: BTreeMap<u8, Open>,
}

#[derive(Debug)]
struct Open {
    stop: Arc<watch::Sender<bool>>,
    /// Closed when its thread touches nothing any more.
    done: watch::Receiver<()>,
}

/// A lane that was let in.
struct Lane {
    pieces: mpsc::Sender<Piece>,
    said: mpsc::Sender<Message>,
    to_say: mpsc::Receiver<Message>,
    stop: Arc<watch::Sender<bool>>,
    facts: Arc<Facts>,
    agreed: Features,
}

type Piece = (u64, PieceOp, Parts);

impl Lanes {
    /// None yet.
    pub fn new(home: Arc<Home>, facts: Arc<Facts>, agreed: Features) -> Self {
        Self { home, facts, agreed, admission: tokio::sync::Mutex::default(), inner: Mutex::default() }
    }

    /// Ends all lanes and lets none in any more. What waits in them is dropped; the source sends it again.
    pub fn end(&self) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        for lane in inner.open.values() {
            lane.stop.send_replace(true);
        }
    }

    /// Returns when no lane touches anything any more; after [`Self::end`].
    pub async fn ended(&self) {
        let open: Vec<_> = self.inner.lock().open.values().map(|lane| lane.done.clone()).collect();
        for mut done in open {
            finished(&mut done).await;
        }
    }

    /// Lets lane `number` in; an earlier connection of it has ended then.
    async fn admit(self: &Arc<Self>, number: u8) -> Result<Lane, Refused> {
        let _one = self.admission.lock().await;
        let earlier = self.inner.lock().open.get(&number).map(|lane| (lane.stop.clone(), lane.done.clone()));
        if let Some((stop, mut done)) = earlier {
            stop.send_replace(true);
            if tokio::time::timeout(STOP_TIMEOUT, finished(&mut done)).await.is_err() {
                let why = "the earlier connection of this lane does not stop on the target: its disk may hang";
                return Err(refused(RefusalCode::Busy, why));
            }
        }
        let (ended, done) = watch::channel(());
        let stop = Arc::new(watch::channel(false).0);
        let (pieces, mut waiting) = mpsc::channel::<Piece>(QUEUE);
        let (said, to_say) = mpsc::channel(QUEUE);
        let mut inner = self.inner.lock();
        if inner.ended {
            return Err(no_session());
        }
        let work = {
            let (lanes, stop, said) = (self.clone(), stop.clone(), said.clone());
            move || {
                // Dropped last, also when something panics: who waits for the end may then go on.
                let _leave = Leave { lanes: lanes.clone(), number, _ended: ended };
                while let Some((n, op, payload)) = waiting.blocking_recv() {
                    if *stop.borrow() || said.blocking_send(Message::PieceDone(n, lanes.answer(&op, &payload))).is_err()
                    {
                        return;
                    }
                }
            }
        };
        thread::Builder::new()
            .name("target-lane".into())
            .spawn(work)
            .map_err(|e| refused(RefusalCode::Other, format!("the target cannot start a thread: {e}")))?;
        inner.open.insert(number, Open { stop: stop.clone(), done });
        let count = inner.open.len() as u64;
        self.facts.update(|s| s.lanes = count);
        Ok(Lane { pieces, said, to_say, stop, facts: self.facts.clone(), agreed: self.agreed })
    }

    fn answer(&self, op: &PieceOp, payload: &Parts) -> PieceAnswer {
        let carry_out = || self.home.carry_out(op, payload);
        let outcome = carry_out()
            .or_else(|fault| if self.home.make_room(&self.facts, &fault) { carry_out() } else { Err(fault) });
        outcome.unwrap_or_else(|fault| {
            let text = fault.text;
            tracing::warn!(name = %self.home.name, stage = %op.stage(), "a piece could not be stored: {text}");
            self.facts.error(format!("lane: {text}"));
            PieceAnswer::Failed { text, retry: fault.kind == FaultKind::Retry }
        })
    }
}

/// Takes a lane whose thread ends off the list.
struct Leave {
    lanes: Arc<Lanes>,
    number: u8,
    _ended: watch::Sender<()>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut inner = self.lanes.inner.lock();
        // The next one of this number is let in after this.
        inner.open.remove(&self.number);
        let count = inner.open.len() as u64;
        self.lanes.facts.update(|s| s.lanes = count);
    }
}

/// Whatever ends a lane's future, a dropped task included, ends the lane.
struct StopGuard(Arc<watch::Sender<bool>>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn no_session() -> Refused {
    refused(RefusalCode::Busy, "no session with this run of numbers is being served: a lane needs one")
}

impl Target {
    /// Serves one lane until its connection, or the session that it belongs to, ends.
    pub(crate) async fn serve_lane<R, W>(
        self: &Arc<Self>,
        hello: LaneHello,
        peer: &Peer,
        mut reader: R,
        mut writer: W,
    ) -> Result<(), TargetError>
    where
        R: Inlet + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let name = format!("{}, lane {}", hello.name, hello.lane);
        match self.admit_lane(&hello, peer).await {
            Ok(lane) => lane.run(name, &mut reader, &mut writer).await,
            Err(why) => refuse(&mut reader, &mut writer, name, why).await,
        }
    }

    async fn admit_lane(&self, hello: &LaneHello, peer: &Peer) -> Result<Lane, Refused> {
        speaks("source", hello.version)?;
        if hello.lane >= MAX_LANES {
            return Err(refused(RefusalCode::Protocol, format!("lane {} of at most {MAX_LANES}", hello.lane)));
        }
        let lanes = self.lanes(&hello.name, peer.identity(), hello.incarnation).ok_or_else(no_session)?;
        lanes.admit(hello.lane).await
    }
}

impl Lane {
    async fn run<R, W>(self, name: String, reader: &mut R, writer: &mut W) -> Result<(), TargetError>
    where
        R: Inlet + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let Self { pieces, said, to_say, stop, facts, agreed } = self;
        let mut reader = Messages::new(reader, agreed);
        let _guard = StopGuard(stop.clone());
        let mut stopped = stop.subscribe();
        let mut sending = Box::pin(send(writer, to_say));
        let end = tokio::select! {
            end = receive(&mut reader, &pieces, &facts) => end,
            result = &mut sending => result.map_or_else(End::Lost, |()| End::Closed),
            _ = stopped.wait_for(|stop| *stop) => End::Cancelled,
        };
        let outcome = match end {
            // Without a word where it is cancelled: the source comes back when it can.
            End::Closed | End::Cancelled => Ok(()),
            End::Lost(source) => Err(TargetError::Connection { name, source }),
            End::Refused(why) => Err(TargetError::Refused { name, refused: why }),
        };
        drop(pieces);
        if let Err(error) = &outcome {
            facts.error(error.to_string());
        }
        if let Err(TargetError::Refused { refused, .. }) = &outcome {
            let farewell = async {
                // Fails where the network does.
                let _ = said.send(Message::Refused(refused.clone())).await;
                drop(said);
                sending.await
            };
            if let Ok(Ok(())) = tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await {
                listen_out(reader.get_mut()).await;
            }
        }
        outcome
    }
}

async fn receive(reader: &mut Messages<impl Inlet>, pieces: &mpsc::Sender<Piece>, facts: &Facts) -> End {
    loop {
        let (n, op, payload) = match reader.next().await {
            Ok(Some(Heard::Piece(n, op, payload))) => (n, op, payload),
            Ok(Some(Heard::Other(Message::Heartbeat))) => continue,
            Ok(Some(_)) => return End::Refused(refused(RefusalCode::Protocol, "a message out of order")),
            Ok(None) => return End::Closed,
            Err(WireError::Io(e)) => return End::Lost(e),
            Err(WireError::Frame(e)) => return End::Refused(unreadable(&e)),
        };
        facts.update(|s| s.bytes_received += payload.len() as u64);
        if let Err(why) = check_piece(&op, &payload) {
            return End::Refused(refused(RefusalCode::Protocol, format!("piece {n}: {why}")));
        }
        if pieces.send((n, op, payload)).await.is_err() {
            return End::Cancelled;
        }
    }
}

/// Says that pieces are taken, then what became of them, until nobody says anything any more.
async fn send(writer: &mut (impl AsyncWrite + Unpin), mut to_say: mpsc::Receiver<Message>) -> io::Result<()> {
    write_message(writer, &Message::LaneAck(LaneAck { version: VERSION })).await?;
    loop {
        let first = match tokio::time::timeout(HEARTBEAT, to_say.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return writer.shutdown().await,
            Err(_) => Message::Heartbeat,
        };
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(message) = next {
            // Nothing that is said here has a payload.
            let _all_of_it = batch.push(&Frame::encode(&message));
            next = to_say.try_recv().ok();
        }
        batch.write(writer).await?;
        writer.flush().await?;
    }
}
