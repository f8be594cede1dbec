//! The session of a source with one target: greeting, sending, listening, and beginning anew whenever that ends. What is
//! sent and what an answer means is the [`Feed`]'s.

use crate::ScmError;
use crate::outlet::Outlet;
use crate::packing::{self, Goodput, Packing};
use crate::sending::Sending;
use platform::killpoint::{self, KillPoint};
use platform::wire::{WireError, read_message, write_message};
use protocol::{
    Ack, Answer, Busy, Frame, FrameError, Hello, HelloAck, Message, RefusalCode, Refused, SeqNo, Trouble, VERSION,
};
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// A target's applier is heard of at least once a second; after this it is gone.
const SILENCE: Duration = Duration::from_secs(4);
/// A source that has nothing to say says so this often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// What is gathered leaves after this, whether or not anything has come from the target.
pub const GATHER: Duration = Duration::from_millis(2);
/// A target that says no is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// The connection has to begin anew: what it greeted with does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again;

/// What has something to say to a target, and listens to it. Methods return at once.
pub trait Feed: Send + Sync + 'static {
    /// How long to wait before the next greeting.
    fn pause(&self) -> Duration;
    /// The greeting, and the generation of the connection that it begins.
    fn hello(&self) -> (Hello, u64);
    /// The target lets the source in. `Err(Some)`: it is not the right one.
    fn welcomed(&self, generation: u64, ack: &HelloAck) -> Result<(), Option<String>>;
    /// What is there to be sent is better sent with what comes next, which is in a moment.
    fn gathers(&self) -> bool;
    /// The next frame to send, if there is one and it may be sent now.
    fn next_frame(&self, generation: u64) -> Result<Option<Frame>, Again>;
    /// Everything is sent and applied, and nothing more comes.
    fn wants_bye(&self) -> bool;
    /// The target has said goodbye.
    fn farewell(&self, ack: Ack);
    /// An acknowledgement.
    fn acknowledged(&self, ack: Ack);
    /// An answer to the record with this number.
    fn answered(&self, seq: SeqNo, answer: Answer);
    /// A record could not be carried out.
    fn trouble(&self, trouble: &Trouble);
    /// The target is alive and has been at one record for a while.
    fn busy(&self, busy: Busy);
    /// The target refuses this source.
    fn refused(&self, refused: &Refused);
    /// The key of one side is not the right one; it may be put right on the other side.
    fn wrong_key(&self, error: &ScmError);
    /// The connection is lost or could not be made.
    fn lost(&self, reason: &str);
}

/// Both directions of a connection.
pub struct Streams {
    /// From the target.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// To the target.
    pub writer: Box<dyn Outlet>,
    /// Asked when the connection ended: a reason that is no mere loss.
    pub why_closed: Box<dyn Fn() -> Option<ScmError> + Send + Sync>,
    /// Called when the target has let this node in.
    pub welcomed: Box<dyn Fn() + Send + Sync>,
    /// What the path to the target carries now.
    pub goodput: Goodput,
    /// Kept as long as the connection.
    pub held: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// Makes connections to one target.
pub trait Dial: Send + Sync + 'static {
    /// A new connection.
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>>;

    /// How what is sent on them is packed; `None`: not at all.
    fn packing(&self) -> Option<&Arc<Packing>> {
        None
    }
}

/// How one connection ended.
enum End {
    Bye,
    Again,
    Lost(String),
    Refused(Refused),
    Key(ScmError),
}

/// Serves a feed until it has said goodbye. `wake` is notified when there is something to send. Dropping the future ends
/// the session as a crash would.
pub async fn run(feed: Arc<dyn Feed>, dialer: Arc<dyn Dial>, wake: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(feed.pause()).await;
        let mut greeted = false;
        match connection(&*feed, &*dialer, &wake, &mut greeted).await {
            End::Bye => return,
            End::Again => {
                // Greeting anew is the normal course after a change; doing so without end is not.
                sleep(FIRST_PAUSE / 10).await;
                continue;
            }
            End::Lost(reason) => feed.lost(&reason),
            End::Refused(refused) => {
                feed.refused(&refused);
                sleep(REFUSED_PAUSE).await;
            }
            End::Key(error) => {
                feed.wrong_key(&error);
                sleep(REFUSED_PAUSE).await;
            }
        }
        pause = if greeted { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        sleep(pause).await;
    }
}

async fn connection(feed: &dyn Feed, dialer: &dyn Dial, wake: &Notify, greeted: &mut bool) -> End {
    let mut streams = match dialer.dial().await {
        Ok(streams) => streams,
        Err(error) if error.is_about_keys() => return End::Key(error),
        Err(error @ ScmError::OtherProtocol { .. }) => return other_protocol(&error),
        Err(error) => return End::Lost(error.to_string()),
    };
    let end = talk(feed, &mut streams, dialer.packing(), wake, greeted).await;
    match (end, (streams.why_closed)()) {
        (End::Lost(_), Some(error)) if error.is_about_keys() => End::Key(error),
        (End::Lost(_), Some(error @ ScmError::OtherProtocol { .. })) => other_protocol(&error),
        (End::Lost(_), Some(error)) => End::Lost(error.to_string()),
        (end, _) => end,
    }
}

async fn talk(
    feed: &dyn Feed,
    streams: &mut Streams,
    packing: Option<&Arc<Packing>>,
    wake: &Notify,
    greeted: &mut bool,
) -> End {
    let (mut hello, generation) = feed.hello();
    if let Some(packing) = packing {
        hello.features = packing.offer(hello.features);
    }
    if let Err(error) = write_message(&mut streams.writer, &Message::Hello(hello)).await {
        return End::Lost(format!("connection lost: {error}"));
    }
    let ack = match timeout(SILENCE, read_message(&mut streams.reader)).await {
        Ok(Ok(Some(Message::HelloAck(ack)))) => ack,
        Ok(Ok(Some(Message::Refused(refused)))) => return End::Refused(refused),
        Ok(Ok(Some(_))) => return End::Lost("the target spoke out of turn".to_owned()),
        Ok(Ok(None)) => return End::Lost("the target closed the connection".to_owned()),
        Ok(Err(WireError::Frame(FrameError::Version(theirs)))) => return End::Refused(crate::other_version(theirs)),
        Ok(Err(error)) => return End::Lost(error.to_string()),
        Err(_) => return End::Lost("the target does not answer the greeting".to_owned()),
    };
    if ack.version != VERSION {
        return End::Refused(crate::other_version(ack.version));
    }
    if let Some(bits) = ack.features.unknown_demands() {
        let text = format!(
            "the target demands what this source does not know (feature {bits}; the target is replfs {}): use the same release on both sides",
            ack.software
        );
        return End::Refused(Refused { code: RefusalCode::Version, text });
    }
    if let Some(packing) = packing {
        // Before it is said that lanes may come.
        packing.agree(ack.features);
    }
    match feed.welcomed(generation, &ack) {
        Ok(()) => {
            *greeted = true;
            (streams.welcomed)();
        }
        Err(None) => return End::Again,
        Err(Some(text)) => {
            return End::Refused(Refused { code: RefusalCode::Changed, text });
        }
    }
    tracing::info!(event = "link-up", replica = %ack.replica, software = ack.software, "connected to the target");
    let mut writer = packing::writer(&mut streams.writer, &streams.goodput, packing, None);
    let sender = Sender { feed, generation, wake };
    let sending = Sending::new(ack.features, packing);
    // Both run to their end or until the other's: neither is ever resumed after it was dropped.
    tokio::select! {
        end = sender.run(sending, &mut *writer) => end,
        end = listen(feed, &mut streams.reader) => end,
    }
}

/// No protocol that both speak: as bad as another version, and as little to be done about here.
fn other_protocol(error: &ScmError) -> End {
    End::Refused(Refused { code: RefusalCode::Version, text: error.to_string() })
}

/// The half of a connection that sends.
struct Sender<'a> {
    feed: &'a dyn Feed,
    generation: u64,
    wake: &'a Notify,
}

impl Sender<'_> {
    async fn run(&self, sending: Sending, writer: &mut (dyn Outlet + '_)) -> End {
        match self.send_all(sending, writer).await {
            Ok(end) => end,
            Err(error) => End::Lost(format!("connection lost: {error}")),
        }
    }

    async fn send_all(&self, mut sending: Sending, mut writer: &mut (dyn Outlet + '_)) -> std::io::Result<End> {
        let (mut said_bye, mut overdue, mut leaves) = (false, false, false);
        loop {
            let gathers = !std::mem::take(&mut overdue) && self.feed.gathers();
            if !gathers {
                while let Some(frame) = match self.feed.next_frame(self.generation) {
                    Err(Again) => return Ok(End::Again),
                    Ok(frame) => frame,
                } {
                    sending.push(frame, &mut *writer).await?;
                }
                sending.load(&mut *writer).await?;
                leaves = true;
            }
            if leaves {
                // More may come meanwhile.
                let takes_its_time = writer.takes_its_time();
                tokio::select! {
                    biased;
                    left = writer.flush() => left?,
                    () = self.wake.notified(), if takes_its_time => continue,
                }
                leaves = false;
                killpoint::pass(KillPoint::Sent);
            }
            if !said_bye && self.feed.wants_bye() {
                said_bye = true;
                write_message(&mut writer, &Message::Bye).await?;
            }
            let waited = timeout(if gathers { GATHER } else { HEARTBEAT }, self.wake.notified()).await;
            overdue = gathers && waited.is_err();
            if waited.is_err() && !gathers {
                write_message(&mut writer, &Message::Heartbeat).await?;
            }
        }
    }
}

async fn listen(feed: &dyn Feed, mut reader: &mut (dyn AsyncRead + Send + Unpin)) -> End {
    loop {
        let message = match timeout(SILENCE, read_message(&mut reader)).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::Lost("the target closed the connection".to_owned()),
            Ok(Err(WireError::Frame(error))) => return End::Lost(format!("unreadable answer: {error}")),
            Ok(Err(WireError::Io(error))) => return End::Lost(format!("connection lost: {error}")),
            Err(_) => return End::Lost(format!("the target was silent for {} s", SILENCE.as_secs())),
        };
        match message {
            Message::Ack(ack) => feed.acknowledged(ack),
            Message::Answer(seq, answer) => feed.answered(seq, answer),
            Message::Trouble(trouble) => feed.trouble(&trouble),
            Message::Busy(busy) => feed.busy(busy),
            Message::Refused(refused) => return End::Refused(refused),
            Message::ByeAck(ack) => {
                // Unasked it would end this session for good.
                if !feed.wants_bye() {
                    return End::Lost("the target said goodbye and was not asked to".to_owned());
                }
                feed.farewell(ack);
                return End::Bye;
            }
            Message::Hello(_)
            | Message::HelloAck(_)
            | Message::Record(..)
            | Message::Heartbeat
            | Message::Bye
            | Message::Fetch(_)
            | Message::FetchAck(_)
            | Message::Ask(..)
            | Message::Told(..)
            | Message::Lane(_)
            | Message::LaneAck(_)
            | Message::Piece(..)
            | Message::PieceDone(..)
            | Message::Pair(_)
            | Message::PairAck(_) => {
                return End::Lost("the target spoke out of turn".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests;
