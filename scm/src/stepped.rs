//! The half of a session that sends, without its connection, its clock and its feed, for simulators: who has it says what is to be sent and takes the bytes. How they
//! are told is the session's; nothing here is for a daemon, and no policy is here.

use crate::outlet::Outlet;
use crate::packing::{self, Goodput, Packing};
use crate::sending::Sending;
pub use crate::session::{GATHER, HEARTBEAT};
use platform::wire::write_message;
use protocol::{Features, Frame, Hello, HelloAck, Message};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What was sent and nobody has taken. It has room for all.
#[derive(Debug, Default)]
struct Sent(Vec<u8>);

impl AsyncWrite for Sent {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Outlet for Sent {}

/// Of one connection.
pub struct Stepped {
    packing: Option<Arc<Packing>>,
    goodput: Goodput,
    sending: Sending,
    sent: Sent,
}

impl std::fmt::Debug for Stepped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepped").field("packing", &self.packing).finish_non_exhaustive()
    }
}

/// Nothing here waits.
fn run(sending: impl Future<Output = io::Result<()>>) {
    let polled = pin!(sending).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))), "what has room for all takes all");
}

impl Stepped {
    /// Of a connection that begins, and the greeting as it goes out. `packing` is the mount's; `None`: neither blocks nor short fronts are known here.
    pub fn greet(packing: Option<Arc<Packing>>, mut hello: Hello) -> (Self, Vec<u8>) {
        if let Some(packing) = &packing {
            hello.features = packing.offer(hello.features);
        }
        let sending = Sending::new(Features::default(), None);
        let mut stepped = Self { packing, goodput: Box::new(|| None), sending, sent: Sent::default() };
        run(write_message(&mut stepped.sent, &Message::Hello(hello)));
        let greeting = stepped.take();
        (stepped, greeting)
    }

    /// The target has answered it.
    pub fn agree(&mut self, ack: &HelloAck) {
        if let Some(packing) = &self.packing {
            packing.agree(ack.features);
        }
        self.sending = Sending::new(ack.features, self.packing.as_ref());
    }

    /// Whether blocks are agreed: what is sent at once is in one then, and without them each frame is for itself.
    pub fn sends_blocks(&self) -> bool {
        self.packing.as_ref().is_some_and(|packing| packing.is_agreed())
    }

    /// Whether short fronts are agreed.
    pub fn is_short(&self) -> bool {
        self.packing.as_ref().is_some_and(|packing| packing.is_short())
    }

    /// The bytes of what is sent at once.
    pub fn send(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let Self { packing, goodput, sending, sent } = self;
        let mut writer = packing::writer(sent, goodput, packing.as_ref(), None);
        run(async {
            for frame in frames {
                sending.push(frame, &mut *writer).await?;
            }
            sending.load(&mut *writer).await?;
            writer.flush().await
        });
        drop(writer);
        self.take()
    }

    /// Those of what shows that it is there.
    pub fn beat(&mut self) -> Vec<u8> {
        let Self { packing, goodput, sent, .. } = self;
        let mut writer = packing::writer(sent, goodput, packing.as_ref(), None);
        run(async {
            write_message(&mut writer, &Message::Heartbeat).await?;
            writer.flush().await
        });
        drop(writer);
        self.take()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent.0)
    }
}
