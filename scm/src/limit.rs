//! How fast a mount sends (S4): one allowance, which all its connections share. What waits for it waits before it is encrypted, so that QUIC never has more than it
//! may send soon.

use crate::ScmError;
use crate::outlet::Outlet;
use crate::session::{Dial, Streams};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};

/// At most so much is let through at once, so that connections take turns.
const PIECE_BYTES: usize = 16 << 10;
/// What was not used for so long is lost.
const SPARE: Duration = Duration::from_millis(20);
/// While nothing may be sent, or to see that another rate holds, time is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bytes per second that may be sent now; `None`: as many as there are.
pub type Rate = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// What may be sent by all connections together.
pub struct Allowance {
    rate: Rate,
    state: Mutex<State>,
}

struct State {
    /// The rate, and until when it is taken to be that.
    rate: Option<u64>,
    known_until: Instant,
    /// When all that was let through has had its time.
    free: Instant,
}

impl std::fmt::Debug for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allowance").finish_non_exhaustive()
    }
}

impl Allowance {
    /// An allowance at this rate, which is asked for now and then.
    pub fn new(rate: Rate) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self { state: Mutex::new(State { rate: rate(), known_until: now + LOOK_AGAIN, free: now }), rate })
    }

    /// Takes room for up to so many bytes: for how many, or from when on there is some.
    fn take(&self, most: usize, now: Instant) -> Result<usize, Instant> {
        let mut state = self.state.lock();
        if now >= state.known_until {
            (state.rate, state.known_until) = ((self.rate)(), now + LOOK_AGAIN);
        }
        let Some(rate) = state.rate else { return Ok(most) };
        if state.free > now {
            return Err(state.free.min(state.known_until));
        }
        let bytes = most.min(PIECE_BYTES);
        state.free = state.free.max(now.checked_sub(SPARE).unwrap_or(now)) + time_of(bytes, rate);
        Ok(bytes)
    }

    /// Of what was taken so much was not sent.
    fn give_back(&self, bytes: usize) {
        let mut state = self.state.lock();
        if let Some(rate) = state.rate {
            state.free = state.free.checked_sub(time_of(bytes, rate)).unwrap_or(state.free);
        }
    }
}

fn time_of(bytes: usize, rate: u64) -> Duration {
    let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Makes connections that keep to an allowance.
pub struct LimitedDialer {
    inner: Arc<dyn Dial>,
    allowance: Arc<Allowance>,
}

impl LimitedDialer {
    /// Those of another dialer.
    pub fn new(inner: Arc<dyn Dial>, allowance: Arc<Allowance>) -> Arc<Self> {
        Arc::new(Self { inner, allowance })
    }
}

impl std::fmt::Debug for LimitedDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitedDialer").finish_non_exhaustive()
    }
}

impl Dial for LimitedDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        Box::pin(async {
            let streams = self.inner.dial().await?;
            let paced = Paced { inner: streams.writer, allowance: Arc::clone(&self.allowance), pause: None };
            Ok(Streams { writer: Box::new(paced), ..streams })
        })
    }
}

/// A stream that waits for its allowance.
struct Paced {
    inner: Box<dyn Outlet>,
    allowance: Arc<Allowance>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    /// How many of these bytes may be sent now.
    fn poll_take(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<usize> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.allowance.take(bytes, Instant::now()) {
                Ok(taken) => return Poll::Ready(taken),
                Err(at) => self.pause = Some(Box::pin(sleep_until(at))),
            }
        }
    }
}

impl AsyncWrite for Paced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let paced = self.get_mut();
        let taken = ready!(paced.poll_take(cx, bytes.len()));
        let written = Pin::new(&mut paced.inner).poll_write(cx, &bytes[..taken]);
        let sent = if let Poll::Ready(Ok(sent)) = &written { *sent } else { 0 };
        paced.allowance.give_back(taken - sent);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl Outlet for Paced {
    fn poll_hand(self: Pin<&mut Self>, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let taken = ready!(paced.poll_take(cx, chunk.len()));
        let mut part = chunk.slice(..taken);
        let handed = Pin::new(&mut paced.inner).poll_hand(cx, &mut part);
        paced.allowance.give_back(part.len());
        chunk.advance(taken - part.len());
        handed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::outlet::Loader;
    use crate::outlet::tests::{frame, handing, uncopied};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Bytes that are let through in a second by one who always has more, and by one who comes after a pause of a minute.
    fn in_a_second(allowance: &Allowance, begin: Instant) -> u64 {
        let (mut now, mut sent) = (begin, 0);
        while now < begin + Duration::from_secs(1) {
            match allowance.take(1 << 20, now) {
                Ok(bytes) => sent += bytes as u64,
                Err(at) => now = at,
            }
        }
        sent
    }

    #[test]
    fn no_more_is_sent_in_a_second_than_may_be() {
        const RATE: u64 = 1 << 20;
        let allowance = Allowance::new(Box::new(|| Some(RATE)));
        let begin = Instant::now();
        let spare = RATE / 50 + PIECE_BYTES as u64;
        for at in [begin, begin + Duration::from_secs(60)] {
            let sent = in_a_second(&allowance, at);
            assert!((RATE - spare..=RATE + spare).contains(&sent), "{sent}");
        }
    }

    #[tokio::test]
    async fn a_payload_that_is_paced_is_not_copied() {
        let payload = frame(300_000);
        let allowance = Allowance::new(Box::new(|| Some(10 << 20)));
        let (ours, kept) = handing();
        let mut paced = Paced { inner: Box::new(ours), allowance, pause: None };
        Loader::default().push(payload.clone(), &mut paced).await.unwrap();
        assert_eq!(uncopied(&kept.lock(), &payload.payload), payload.payload.len());
    }

    #[test]
    fn another_rate_holds_within_a_second() {
        let rate = Arc::new(AtomicU64::new(64 << 10));
        let asked = Arc::clone(&rate);
        let allowance = Allowance::new(Box::new(move || Some(asked.load(Ordering::SeqCst)).filter(|rate| *rate > 0)));
        let begin = Instant::now();
        assert!(in_a_second(&allowance, begin) < 100 << 10);
        rate.store(0, Ordering::SeqCst);
        assert_eq!(allowance.take(1 << 20, begin + Duration::from_secs(2)), Ok(1 << 20));
    }

    #[test]
    fn what_was_not_sent_costs_nothing() {
        let allowance = Allowance::new(Box::new(|| Some(1000)));
        let now = Instant::now();
        for _ in 0..100 {
            let taken = allowance.take(1000, now).unwrap();
            allowance.give_back(taken);
        }
        assert!(allowance.take(1000, now).is_ok());
    }
}
