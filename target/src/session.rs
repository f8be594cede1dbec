//! One session: the Hello, then records in and acknowledgements out until the connection ends. Async; the work is done on
//! threads of its own (`worker`).

use crate::admit::{self, refused};
use crate::error::TargetError;
use crate::home::Home;
use crate::inbox::{End, Inbox, unreadable};
use crate::lane::Lanes;
use crate::outbox::Outbox;
use crate::peer::Peer;
use crate::queue::Queue;
use crate::root::{Current, Slot, Target};
use crate::worker;
use platform::inlet::Inlet;
use platform::wire::{Messages, WireError, read_message, write_message};
use protocol::{Features, Fetch, Hello, HelloAck, Message, RefusalCode, Refused, VERSION};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::watch;

/// How long a new connection may take to say Hello.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last words of a session may take to leave.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused source may take to hang up.
const LISTEN_OUT: Duration = Duration::from_secs(2);
/// What is read ahead, and so copied once more: some dozens of small records, and little of a large one.
pub(crate) const READ_BUFFER_BYTES: usize = 4 << 10;

impl Target {
    /// Serves one connection of a source, a session or a lane, whose key has the fingerprint `peer`, until it ends: on its own, for something that
    /// does not parse, for a newer connection of the same source, or by [`Target::shutdown`]. What was received in order
    /// is applied before this returns; to be called within a tokio runtime.
    pub async fn serve<R, W>(
        self: Arc<Self>,
        peer: impl Into<Peer> + Send,
        reader: R,
        mut writer: W,
    ) -> Result<(), TargetError>
    where
        R: Inlet + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let peer = peer.into();
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
        let hello = match tokio::time::timeout(HELLO_TIMEOUT, read_message(&mut reader)).await {
            Ok(Ok(Some(Message::Hello(hello)))) => hello,
            Ok(Ok(Some(Message::Lane(hello)))) => return self.serve_lane(hello, &peer, reader, writer).await,
            Ok(Ok(Some(Message::Fetch(fetch)))) => return self.read_to(fetch, &peer, reader, writer).await,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(WireError::Io(source))) => return Err(TargetError::Connection { name: peer.key, source }),
            Ok(Err(WireError::Frame(e))) => {
                return refuse(&mut reader, &mut writer, peer.key, unreadable(&e)).await;
            }
            Ok(Ok(Some(_))) => {
                let why = refused(RefusalCode::Protocol, "the first message must be a hello");
                return refuse(&mut reader, &mut writer, peer.key, why).await;
            }
            Err(_) => {
                let why = refused(RefusalCode::Protocol, "no hello within ten seconds");
                return refuse(&mut reader, &mut writer, peer.key, why).await;
            }
        };
        let name = hello.name.to_string();
        let session = match self.admit(hello, &peer).await {
            Ok(session) => session,
            Err(why) => return refuse(&mut reader, &mut writer, name, why).await,
        };
        session.run(name, reader, writer).await
    }

    /// Lets the owner of a replica read it. No session takes part.
    async fn read_to<R, W>(&self, fetch: Fetch, peer: &Peer, mut reader: R, mut writer: W) -> Result<(), TargetError>
    where
        R: Inlet + Send,
        W: AsyncWrite + Unpin + Send,
    {
        if self.is_closing() {
            let why = refused(RefusalCode::Busy, "the target is shutting down: try again later");
            return refuse(&mut reader, &mut writer, fetch.name.to_string(), why).await;
        }
        self.reading.answer(fetch, peer, reader, writer).await
    }

    /// Lets a source in, or says why not; the session that had its replica has ended then.
    async fn admit(self: &Arc<Self>, hello: Hello, peer: &Peer) -> Result<Session, Refused> {
        let slot = self.slot(&hello.name);
        let admission = slot.admission.lock().await;
        let result = self.admit_to(&slot, hello.clone(), peer.clone()).await;
        drop(admission);
        if let Err(why) = &result {
            slot.facts.error(format!("refused: {}", why.text));
            self.forget(&hello.name);
        }
        result
    }

    async fn admit_to(self: &Arc<Self>, slot: &Arc<Slot>, hello: Hello, peer: Peer) -> Result<Session, Refused> {
        let hello = Arc::new(hello);
        let checked = tokio::task::spawn_blocking({
            let (target, hello, peer) = (self.clone(), hello.clone(), peer.clone());
            move || admit::check(&target, &hello, &peer)
        });
        checked.await.unwrap_or_else(|e| Err(refused(RefusalCode::Other, format!("the target failed: {e}"))))?;
        if !slot.stop().await {
            let why = "the previous connection of this source does not stop on the target: its disk may hang";
            return Err(refused(RefusalCode::Busy, why));
        }
        if self.is_closing() {
            return Err(refused(RefusalCode::Busy, "the target is shutting down: try again later"));
        }
        let opened = tokio::task::spawn_blocking({
            let (target, hello, peer) = (self.clone(), hello.clone(), peer.clone());
            move || admit::open(&target, &hello, &peer)
        });
        let home =
            opened.await.unwrap_or_else(|e| Err(refused(RefusalCode::Other, format!("the target failed: {e}"))))?;
        let session = Session::begin(slot, &hello, &peer, Arc::new(home), &self.software, worker::start);
        if self.is_closing() {
            // The shutdown may have looked at this replica before.
            slot.cancel();
        }
        session
    }
}

/// A source that was let in.
pub(crate) struct Session {
    pub inbox: Inbox,
    pub outbox: Arc<Outbox>,
    /// What both ends have: how what comes is coded.
    pub agreed: Features,
    /// What comes beside it, and ends with it.
    lanes: Arc<Lanes>,
    /// Closed when nothing is applied any more.
    done: watch::Receiver<()>,
}

impl Session {
    /// `start` sees to it that what is received is applied.
    pub fn begin(
        slot: &Slot,
        hello: &Hello,
        peer: &Peer,
        home: Arc<Home>,
        software: &str,
        start: impl FnOnce(worker::Job) -> std::io::Result<()>,
    ) -> Result<Self, Refused> {
        let position = home.position();
        let resumed = position.filter(|p| {
            p.incarnation == hello.incarnation && hello.oldest.prev() <= p.applied && p.applied <= hello.newest
        });
        let agreed = hello.features.answer();
        let queue = Arc::new(Queue::default());
        let outbox = Arc::new(Outbox::new(
            resumed.map(|p| (p.applied.get(), p.durable.get())),
            hello.features.has(Features::BUSY),
        ));
        outbox.post(Message::HelloAck(HelloAck {
            version: VERSION,
            software: software.to_owned(),
            replica: home.replica,
            position,
            clean: home.clean.is_some(),
            empty: home.empty,
            damaged: home.state().is_some_and(|state| state.damage != 0),
            power_lost: home.state().is_some_and(|state| state.damage != 0 && state.power_lost),
            features: agreed,
        }));
        slot.facts.update(|s| {
            s.owner.clone_from(&peer.key);
            s.sessions += 1;
            s.blocked = None;
            s.set = hello.set.map(|digest| format!("{:032x}", u128::from_be_bytes(digest)));
            s.aside_entries = crate::aside::count(std::os::fd::AsFd::as_fd(&home.meta));
        });
        slot.facts.update(|s| s.undo = home.undo.status());
        slot.facts.position(position, home.state().is_some_and(|s| s.coherent));
        let (ended, done) = watch::channel(());
        let lanes = Arc::new(Lanes::new(home.clone(), slot.facts.clone(), agreed));
        slot.occupy(Current {
            queue: queue.clone(),
            home: home.clone(),
            peer: peer.identity().to_owned(),
            incarnation: hello.incarnation,
            lanes: lanes.clone(),
            done: done.clone(),
        });
        start(worker::Job {
            home,
            facts: slot.facts.clone(),
            queue: queue.clone(),
            outbox: outbox.clone(),
            incarnation: hello.incarnation,
            newest: hello.newest.get(),
            retry: hello.retry_ms.map(Duration::from_millis),
            resumed: resumed.is_some(),
            ended: Some(ended),
        })
        .map_err(|e| refused(RefusalCode::Other, format!("the target cannot start a thread: {e}")))?;
        let received = resumed.map(|p| p.applied.get());
        let inbox = Inbox { queue, facts: slot.facts.clone(), received };
        Ok(Self { inbox, outbox, agreed, lanes, done })
    }

    async fn run<R, W>(mut self, name: String, reader: R, writer: W) -> Result<(), TargetError>
    where
        R: Inlet + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let mut reader = Messages::new(reader, self.agreed);
        let (queue, outbox) = (self.inbox.queue.clone(), self.outbox.clone());
        // Whatever ends this future, a dropped task included, ends the session.
        let guard = EndGuard(queue.clone(), outbox.clone(), self.lanes.clone());
        let mut sender = tokio::spawn({
            let outbox = outbox.clone();
            let queue = queue.clone();
            async move {
                if outbox.run(writer).await.is_err() {
                    // Nobody hears what is done from now on. What was received is still applied.
                    queue.finish();
                }
            }
        });
        let mut done = self.done.clone();
        let end = tokio::select! {
            end = self.inbox.receive(&mut reader) => end,
            () = queue.cancelled() => End::Cancelled,
            () = finished(&mut done) => End::Closed,
        };
        let outcome = match end {
            End::Closed => Ok(()),
            End::Lost(source) => Err(TargetError::Connection { name, source }),
            End::Refused(why) => Err(TargetError::Refused { name, refused: why }),
            End::Cancelled => {
                // Without a word: a source that reads a refusal stays away, and this one has come back or is to.
                outbox.close();
                Ok(())
            }
        };
        if let Err(error) = &outcome {
            self.inbox.facts.error(error.to_string());
        }
        queue.finish();
        self.lanes.end();
        tokio::select! {
            () = finished(&mut done) => {}
            () = queue.cancelled() => {
                outbox.close();
                finished(&mut done).await;
            }
        }
        if let Err(TargetError::Refused { refused, .. }) = &outcome {
            outbox.try_post(Message::Refused(refused.clone()));
        }
        outbox.close();
        if tokio::time::timeout(FAREWELL_TIMEOUT, &mut sender).await.is_err() {
            sender.abort();
        }
        if matches!(outcome, Err(TargetError::Refused { .. })) {
            listen_out(reader.get_mut()).await;
        }
        drop(guard);
        outcome
    }
}

struct EndGuard(Arc<Queue>, Arc<Outbox>, Arc<Lanes>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.cancel();
        self.1.close();
        self.2.end();
    }
}

/// Returns when what `done` belongs to is over.
pub(crate) async fn finished(done: &mut watch::Receiver<()>) {
    // Nothing is ever sent: an error is the end.
    while done.changed().await.is_ok() {}
}

/// Lets the source end the connection, for a while: ending it here could discard the last words on their way.
pub(crate) async fn listen_out(reader: &mut (impl AsyncRead + Unpin)) {
    // An error, an end, too long: all the same.
    let _ = tokio::time::timeout(LISTEN_OUT, tokio::io::copy(reader, &mut tokio::io::sink())).await;
}

/// Tells the source why it is not let in, and closes.
pub(crate) async fn refuse<R, W>(reader: &mut R, writer: &mut W, name: String, why: Refused) -> Result<(), TargetError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let farewell = async {
        write_message(writer, &Message::Refused(why.clone())).await?;
        writer.shutdown().await
    };
    // Whether or not it could be told, it is out.
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await {
        listen_out(reader).await;
    }
    Err(TargetError::Refused { name, refused: why })
}
