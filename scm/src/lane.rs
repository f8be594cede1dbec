//! Lanes: connections beside the session, opened when there is something to copy and closed when there has been nothing for
//! a while. What is copied is the [`LaneFeed`]'s. Nothing here waits for the session, nor does that wait for anything here.

use crate::ScmError;
use crate::outlet::{Loader, Outlet};
use crate::packing::{self, Packing};
use crate::session::{Dial, Streams};
use platform::wire::{read_message, write_message};
use protocol::{Frame, LaneHello, Message, PieceAnswer, VERSION};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// Something is heard of a lane's target at least once a second; after this it is gone.
const SILENCE: Duration = Duration::from_secs(4);
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long the target may take to end a connection that is over.
const LINGER: Duration = Duration::from_secs(2);

/// A lane closes when nothing was copied over it for this long.
pub const IDLE: Duration = Duration::from_secs(5);

/// The connection has no lane any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// What has pieces to send. Methods return at once; a `Seat` is one connection's right to a lane.
pub trait LaneFeed: Send + Sync + 'static {
    /// Names one connection of one lane.
    type Seat: Copy + Send + Sync;
    /// A lane to open now, if one is wanted. Asked again whenever something changes.
    fn next_lane(&self) -> Option<Self::Seat>;
    /// The greeting.
    fn hello(&self, seat: Self::Seat) -> Result<LaneHello, Over>;
    /// The target takes pieces.
    fn opened(&self, seat: Self::Seat) -> Result<(), Over>;
    /// The next frame to send, if there is one and it may be sent now.
    fn next_piece(&self, seat: Self::Seat) -> Result<Option<Frame>, Over>;
    /// Everything that was sent is answered.
    fn is_idle(&self, seat: Self::Seat) -> bool;
    /// An answer. `Ok(false)`: to a piece that was not sent.
    fn answered(&self, seat: Self::Seat, n: u64, answer: PieceAnswer) -> Result<bool, Over>;
    /// The lane could not be opened, or its connection broke.
    fn lost(&self, seat: Self::Seat, reason: &str);
    /// The connection has ended, for whatever reason; the last that is heard of it.
    fn ended(&self, seat: Self::Seat);
}

/// How one connection ended.
enum End {
    /// There was nothing to copy for a while.
    Idle,
    Over,
    Lost(String),
}

impl From<Over> for End {
    fn from(Over: Over) -> Self {
        Self::Over
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(format!("connection lost: {error}"))
    }
}

/// Opens lanes as the feed wants them, until `wake` is dropped; it changes when the feed has something new to say. A lane
/// closes after `idle` without anything copied. Dropping the future ends all lanes as a crash would.
pub async fn run<F: LaneFeed>(feed: Arc<F>, dialer: Arc<dyn Dial>, mut wake: watch::Receiver<u64>, idle: Duration) {
    let mut lanes = JoinSet::new();
    let mut pauses = Pauses { next: FIRST_PAUSE, until: Instant::now() };
    loop {
        wake.mark_unchanged();
        while let Some(ended) = lanes.try_join_next() {
            pauses.after(ended);
        }
        while !pauses.is_on()
            && let Some(seat) = feed.next_lane()
        {
            lanes.spawn(lane(Arc::clone(&feed), seat, Arc::clone(&dialer), wake.clone(), idle));
        }
        tokio::select! {
            changed = wake.changed() => if changed.is_err() { return },
            Some(ended) = lanes.join_next() => pauses.after(ended),
            () = sleep_until(pauses.until), if pauses.is_on() => {}
        }
    }
}

/// All lanes go to one target: where one fails, the next attempt waits.
struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    fn is_on(&self) -> bool {
        Instant::now() < self.until
    }

    fn after(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended { fine: true, .. }) => self.next = FIRST_PAUSE,
            Ok(Ended { greeted: true, .. }) => {
                self.next = FIRST_PAUSE;
                self.until = Instant::now() + FIRST_PAUSE;
            }
            Ok(Ended { .. }) => {
                self.until = Instant::now() + self.next;
                self.next = (self.next * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                tracing::error!(event = "lane-failed", %error, "a lane's task failed");
                self.until = Instant::now() + LONGEST_PAUSE;
            }
        }
    }
}

/// How a lane's task ended.
struct Ended {
    /// Not because of the network or the target.
    fine: bool,
    /// It was let in.
    greeted: bool,
}

/// Tells the feed that a connection has ended, also when its task is dropped.
struct Seated<'a, F: LaneFeed>(&'a F, F::Seat);

impl<F: LaneFeed> Drop for Seated<'_, F> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

async fn lane<F: LaneFeed>(
    feed: Arc<F>,
    seat: F::Seat,
    dialer: Arc<dyn Dial>,
    wake: watch::Receiver<u64>,
    idle: Duration,
) -> Ended {
    let seated = Seated(&*feed, seat);
    let mut streams = match dialer.dial().await {
        Ok(streams) => streams,
        Err(error) => {
            feed.lost(seat, &error.to_string());
            return Ended { fine: false, greeted: false };
        }
    };
    let mut greeted = false;
    let end = talk(&*feed, seat, &mut streams, dialer.packing(), wake, idle, &mut greeted).await;
    let fine = match why(end, &streams) {
        End::Idle | End::Over => true,
        End::Lost(reason) => {
            feed.lost(seat, &reason);
            false
        }
    };
    // What comes from now on is for another connection.
    drop(seated);
    if fine {
        farewell(&mut streams).await;
    }
    Ended { fine, greeted }
}

async fn talk<F: LaneFeed>(
    feed: &F,
    seat: F::Seat,
    streams: &mut Streams,
    packing: Option<&Arc<Packing>>,
    wake: watch::Receiver<u64>,
    idle: Duration,
    greeted: &mut bool,
) -> End {
    let number = match greet(feed, seat, streams).await {
        Ok(number) => number,
        Err(end) => return end,
    };
    *greeted = true;
    tracing::debug!(event = "lane-up", "a lane is open");
    let mut writer = packing::writer(&mut streams.writer, &streams.goodput, packing, Some(number));
    let loader = Loader::new(packing.is_some_and(|packing| packing.is_short()));
    // Both run to their end or until the other's: neither is ever resumed after it was dropped.
    let end = tokio::select! {
        end = send(feed, seat, loader, &mut *writer, wake, idle) => end,
        end = listen(feed, seat, &mut streams.reader) => end,
    };
    end.map_or_else(|end| end, |()| End::Idle)
}

/// Ends the stream and lets the target end the connection: ended here, it would look broken there.
async fn farewell(streams: &mut Streams) {
    let end = async {
        streams.writer.shutdown().await?;
        tokio::io::copy(&mut streams.reader, &mut tokio::io::sink()).await
    };
    // An error, an end, too long: all the same.
    let _ = timeout(LINGER, end).await;
}

fn why(end: End, streams: &Streams) -> End {
    match (end, (streams.why_closed)()) {
        (End::Lost(_), Some(error)) => End::Lost(ScmError::to_string(&error)),
        (end, _) => end,
    }
}

/// The number of the lane that was let in.
async fn greet<F: LaneFeed>(feed: &F, seat: F::Seat, streams: &mut Streams) -> Result<u8, End> {
    let hello = feed.hello(seat)?;
    let number = hello.lane;
    write_message(&mut streams.writer, &Message::Lane(hello)).await?;
    match hear(&mut streams.reader).await? {
        Message::LaneAck(ack) if ack.version == VERSION => {
            feed.opened(seat)?;
            Ok(number)
        }
        Message::LaneAck(ack) => Err(End::Lost(crate::other_version(ack.version).text)),
        Message::Refused(refused) => Err(End::Lost(refused.text)),
        _ => Err(End::Lost("the target spoke out of turn".to_owned())),
    }
}

/// The next message.
async fn hear(mut reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Message, End> {
    match timeout(SILENCE, read_message(&mut reader)).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(End::Lost("the target closed the lane".to_owned())),
        Ok(Err(error)) => Err(End::Lost(error.to_string())),
        Err(_) => Err(End::Lost(format!("the target was silent for {} s", SILENCE.as_secs()))),
    }
}

/// Sends until there was nothing to send for `idle`.
async fn send<F: LaneFeed>(
    feed: &F,
    seat: F::Seat,
    mut loader: Loader,
    mut writer: &mut (dyn Outlet + '_),
    mut wake: watch::Receiver<u64>,
    idle: Duration,
) -> Result<(), End> {
    let mut busy = Instant::now();
    let mut said = busy;
    loop {
        wake.mark_unchanged();
        while let Some(frame) = feed.next_piece(seat)? {
            loader.push(frame, &mut *writer).await?;
            said = Instant::now();
        }
        loader.write(&mut *writer).await?;
        writer.flush().await?;
        if !feed.is_idle(seat) {
            busy = Instant::now();
        } else if busy.elapsed() >= idle {
            return Ok(());
        }
        if said.elapsed() >= HEARTBEAT {
            write_message(&mut writer, &Message::Heartbeat).await?;
            said = Instant::now();
        }
        tokio::select! {
            changed = wake.changed() => if changed.is_err() { return Err(End::Over) },
            () = sleep_until((said + HEARTBEAT).min(busy + idle)) => {}
        }
    }
}

async fn listen<F: LaneFeed>(feed: &F, seat: F::Seat, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<(), End> {
    loop {
        match hear(reader).await? {
            Message::PieceDone(n, answer) => {
                if !feed.answered(seat, n, answer)? {
                    return Err(End::Lost("the target answered what was not asked".to_owned()));
                }
            }
            Message::Heartbeat => {}
            Message::Refused(refused) => return Err(End::Lost(refused.text)),
            _ => return Err(End::Lost("the target spoke out of turn".to_owned())),
        }
    }
}
