//! The socket below QUIC as tokio drives it. quinn's own asks the kernel to say when there is room to send, too; the kernel then says so after each datagram that
//! the other end has taken, and a thread is woken (a sleeping core: 20 to 50 µs) to find that it had nothing to do. Here that is asked only while there is no room.
//! It also asks once more after all that has arrived, each time.

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a socket for QUIC. Must be called within a tokio runtime that drives sockets.
pub(crate) fn wrap(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    Ok(Arc::new(datagrams(socket)?))
}

fn datagrams(socket: UdpSocket) -> io::Result<Datagrams> {
    // This makes it one that does not block.
    let state = UdpSocketState::new((&socket).into())?;
    let local = socket.local_addr()?;
    let socket = watch(socket.into(), Interest::READABLE)?;
    Ok(Datagrams { socket, local, state, full: AtomicBool::new(false) })
}

/// Has the kernel say when this is so of a descriptor.
fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor, always the same, until it is dropped; the `AsyncFd` owns it and lends it out by shared reference only.
    // There is no other way to ask for one interest alone.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

struct Datagrams {
    /// The kernel says when something arrives, and nothing else.
    socket: AsyncFd<OwnedFd>,
    local: SocketAddr,
    state: UdpSocketState,
    /// The last datagram found no room.
    full: AtomicBool,
}

/// Waits for room, for one connection.
struct Room {
    of: Arc<Datagrams>,
    /// The socket once more, for as long as there is no room: the kernel says when there is.
    waiting: Option<AsyncFd<OwnedFd>>,
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").field("local", &self.local).finish_non_exhaustive()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("of", &self.of).field("waits", &self.waiting.is_some()).finish()
    }
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() {
            if !self.of.full.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            // If there is room by now, this says so at once.
            self.waiting = Some(watch(self.of.socket.get_ref().try_clone()?, Interest::WRITABLE)?);
        }
        if let Some(waiting) = &self.waiting {
            ready!(waiting.poll_write_ready(cx))?.retain_ready();
        }
        self.waiting = None;
        self.of.full.store(false, Ordering::Release);
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Datagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { of: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            // Who sends asks for room before it tries again.
            self.full.store(true, Ordering::Release);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let received = self.state.recv(self.socket.get_ref().into(), bufs, meta);
            let nothing = matches!(&received, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            // Fewer than there is room for are all that there were: not asked for more to be told that there is nothing. What comes from here on the kernel says.
            if nothing || matches!(received, Ok(got) if got < bufs.len().min(BATCH_SIZE)) {
                guard.clear_ready();
            }
            if nothing {
                continue;
            }
            return Poll::Ready(received);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn transmit(to: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None }
    }

    async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> usize {
        let mut bytes = vec![0; 65536];
        let mut meta = [RecvMeta::default()];
        let receiving = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta));
        let received = tokio::time::timeout(Duration::from_secs(30), receiving).await;
        assert_eq!(received.expect("something arrives").unwrap(), 1);
        meta[0].len
    }

    /// On loopback there is always room: what is sent is the receiver's at once. So that one was told otherwise is played here.
    #[tokio::test]
    async fn whoever_was_told_that_there_is_no_room_goes_on_when_there_is() {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (from, to) = (datagrams(bind()).unwrap(), wrap(bind()).unwrap());
        let from = Arc::new(from);
        let address = to.local_addr().unwrap();
        let mut rooms = [(); 2].map(|()| Room { of: Arc::clone(&from), waiting: None });
        let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut rooms[0]).poll_writable(cx).is_ready())).await;
        assert!(ready && rooms[0].waiting.is_none(), "the kernel is not asked");
        from.full.store(true, Ordering::Release);
        for room in &mut rooms {
            let waiting = poll_fn(|cx| Pin::new(&mut *room).poll_writable(cx));
            tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("there is room").unwrap();
            assert!(room.waiting.is_none() && !from.full.load(Ordering::Acquire));
        }
        let bytes = [7; 1400];
        from.try_send(&transmit(address, &bytes)).unwrap();
        assert_eq!(receive(&to).await, bytes.len());
    }

    #[tokio::test]
    async fn what_comes_after_all_there_was_is_heard_of_all_the_same() {
        let bind = || wrap(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
        let (from, to) = (bind(), bind());
        let address = to.local_addr().unwrap();
        for round in 0..300_usize {
            let sent = 1 + round % 5;
            for _ in 0..sent {
                from.try_send(&transmit(address, &[7; 100])).unwrap();
            }
            let mut received = 0;
            while received < sent {
                // As many as there is room for, and fewer.
                let (mut bytes, mut meta) = ([[0; 2000]; 2], [RecvMeta::default(); 2]);
                let mut bufs = bytes.each_mut().map(|bytes| IoSliceMut::new(bytes));
                let receiving = poll_fn(|cx| to.poll_recv(cx, &mut bufs, &mut meta));
                let got = tokio::time::timeout(Duration::from_secs(30), receiving).await;
                let got = got.unwrap_or_else(|_| panic!("{received} of {sent} came")).unwrap();
                // The kernel may hand over several in one.
                received += meta[..got].iter().map(|meta| meta.len / 100).sum::<usize>();
            }
            assert_eq!(received, sent);
        }
    }
}
