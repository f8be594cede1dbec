//! A session without its threads and its connection, for simulators: who has it hands bytes in, lets a record be applied, makes durable and takes out what
//! goes back, whenever he likes. What it does is the session's and the worker's; nothing here is for a daemon, and no policy is here.

use crate::admit::{self, refused};
use crate::inbox::{End, Inbox};
use crate::outbox::Outbox;
use crate::peer::Peer;
use crate::queue::Queue;
use crate::root::{Slot, Target};
use crate::session::Session;
use crate::syncs::Syncs;
use crate::worker::Worker;
use platform::inlet::Inlet;
use platform::wire::Messages;
use protocol::{Ack, Hello, Message, RefusalCode, Refused};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that have arrived and were not read.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<(VecDeque<u8>, bool)>>);

impl Pipe {
    fn with<T>(&self, change: impl FnOnce(&mut (VecDeque<u8>, bool)) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|(bytes, over)| {
            if bytes.is_empty() && !*over {
                return Poll::Pending;
            }
            let many = bytes.len().min(into.remaining());
            bytes.drain(..many).for_each(|byte| into.put_slice(&[byte]));
            Poll::Ready(Ok(()))
        })
    }
}

impl Inlet for Pipe {}

type Receiving = Pin<Box<dyn Future<Output = End>>>;

/// See the module.
pub struct Stepped {
    pipe: Pipe,
    receiving: Option<Receiving>,
    worker: Option<Worker>,
    aside: Aside,
    slot: Arc<Slot>,
}

/// A session while it is at something: see [`Stepped::aside`].
#[derive(Clone, Debug)]
pub struct Aside {
    queue: Arc<Queue>,
    outbox: Arc<Outbox>,
    told: Arc<Mutex<Option<Ack>>>,
    syncs: Arc<Syncs>,
}

impl Aside {
    /// Nothing comes any more; what was received is still applied.
    pub fn finish(&self) {
        self.queue.finish();
    }

    /// What goes back to the source now.
    pub fn take(&self) -> Vec<Message> {
        let (messages, ack, _) = self.outbox.gather();
        let greets = messages.iter().any(|message| matches!(message, Message::HelloAck(_)));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::from(messages);
        if !greets && *told != Some(ack) {
            *told = Some(ack);
            out.push(Message::Ack(ack));
        }
        out
    }

    /// One of the syncs that are under way beside the records behind them ends, whichever this says. `false`: there is none.
    pub fn end_sync(&self, which: usize) -> bool {
        self.syncs.carry_out_one(which)
    }

    /// The numbers of those that are under way, and up to which all is applied.
    pub fn syncing(&self) -> (Vec<u64>, u64) {
        self.syncs.waiting()
    }

    /// What it says when it has nothing new to say.
    pub fn alive(&self) -> Message {
        Message::Ack(self.outbox.ack())
    }
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("queue", &self.aside.queue).finish_non_exhaustive()
    }
}

async fn receive(mut inbox: Inbox, mut messages: Messages<Pipe>) -> End {
    inbox.receive(&mut messages).await
}

impl Target {
    /// Lets a source in, as [`Target::serve`] does once it has read the greeting. The session that had the replica is to be over: [`Stepped::end`].
    pub fn step(self: &Arc<Self>, peer: &str, hello: &Hello) -> Result<Stepped, Refused> {
        let peer = Peer::from(peer);
        admit::check(self, hello, &peer)?;
        let slot = self.slot(&hello.name);
        slot.cancel();
        let home = Arc::new(admit::open(self, hello, &peer)?);
        let mut worker = None;
        let session = Session::begin(&slot, hello, &peer, home, &self.software, |job| {
            worker = Some(Worker::new(job));
            Ok(())
        })?;
        let worker = worker.ok_or_else(|| refused(RefusalCode::Other, "nobody applies"))?;
        worker.begin();
        let (pipe, outbox, queue) = (Pipe::default(), session.outbox.clone(), session.inbox.queue.clone());
        let receiving: Receiving = Box::pin(receive(session.inbox, Messages::new(pipe.clone(), session.agreed)));
        let aside = Aside { queue, outbox, told: Arc::default(), syncs: worker.syncs().clone() };
        Ok(Stepped { pipe, receiving: Some(receiving), worker: Some(worker), aside, slot })
    }
}

impl Stepped {
    /// Bytes arrive; `over`: the stream ends behind them. `Err`: the source is refused, and hears that after what is said before.
    pub fn arrive(&mut self, bytes: &[u8], over: bool) -> Result<(), Refused> {
        self.pipe.with(|(waiting, ended)| {
            waiting.extend(bytes);
            *ended |= over;
        });
        let Some(receiving) = &mut self.receiving else { return Ok(()) };
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(end) = receiving.as_mut().poll(&mut context) else { return Ok(()) };
        self.receiving = None;
        self.aside.finish();
        match end {
            End::Refused(refused) => Err(refused),
            End::Closed | End::Lost(_) | End::Cancelled => Ok(()),
        }
    }

    /// What was received first is applied. `false`: nothing was.
    pub fn apply(&mut self) -> bool {
        if self.aside.queue.waiting(1).is_empty() && !self.aside.queue.is_ended() {
            return false;
        }
        let Some(mut worker) = self.worker.take() else { return false };
        if worker.step(Duration::ZERO).is_some() {
            self.worker = Some(worker);
            return true;
        }
        worker.end();
        false
    }

    /// The applier has had nothing to do for a while.
    pub fn idle(&mut self) {
        if let Some(worker) =
            self.worker.as_mut().filter(|_| self.aside.queue.waiting(1).is_empty() && !self.aside.queue.is_ended())
        {
            let _goes_on = worker.step(Duration::ZERO);
        }
    }

    /// Whether records wait.
    pub fn waits(&self) -> bool {
        self.worker.is_some() && !self.aside.queue.waiting(1).is_empty()
    }

    /// Whether anything can still be applied.
    pub fn is_over(&self) -> bool {
        self.worker.is_none()
    }

    /// What was applied is made durable.
    pub fn sync(&self) {
        if let Some(worker) = &self.worker {
            // An error is said to the source.
            let _told = worker.syncer().sync();
        }
    }

    /// Another session has the replica, or the target ends: what waits is dropped.
    pub fn end(&mut self) {
        self.aside.queue.cancel();
        self.aside.outbox.close();
        self.receiving = None;
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
    }

    /// What can be done with it while it is at something.
    pub fn aside(&self) -> Aside {
        self.aside.clone()
    }

    /// Whether the replica calls itself a state that the source had.
    pub fn is_coherent(&self) -> bool {
        self.slot.facts.snapshot().coherent
    }

    /// What the stream stands at, if it stands.
    pub fn blocked(&self) -> Option<String> {
        self.slot.facts.snapshot().blocked.map(|blocked| blocked.reason)
    }
}
