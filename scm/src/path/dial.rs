//! Making connections over paths, and finding out which of them live. A path lives when the target answers over it and shows the right key.

use super::socket::Attempt;
use super::tend::{self, Seat};
use super::{Local, Paths, shown};
use crate::ScmError;
use crate::client::{Made, QuicDialer};
use crate::session::Streams;
use quinn::VarInt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A path that has not answered for so long gets company: the next one is tried too.
const STAGGER: Duration = Duration::from_millis(250);
/// How long an attempt may take that finds out whether a path lives.
const TRY_WITHIN: Duration = Duration::from_secs(3);

impl QuicDialer {
    /// Finds out again and again which paths live, as long as it is polled. Where there is one path, connections say it.
    pub async fn look_after_paths(self) {
        let Some(paths) = self.paths().filter(|paths| paths.several()).map(Arc::clone) else { return };
        let mut all = JoinSet::new();
        for n in 0..paths.all.len() {
            all.spawn(look_after(self.clone(), Arc::clone(&paths), n));
        }
        // None ends by itself.
        while all.join_next().await.is_some() {}
    }

    /// A new connection, over the first path that answers.
    pub(crate) async fn dial_over(&self, paths: &Arc<Paths>) -> Result<Streams, ScmError> {
        let lane = self.is_for_lanes();
        let order = paths.table.lock().order(lane, Instant::now());
        let mut waiting = order.into_iter().peekable();
        let mut race = JoinSet::new();
        let mut failed = Vec::new();
        loop {
            if let Some(n) = waiting.next() {
                let (dialer, paths) = (self.clone(), Arc::clone(paths));
                race.spawn(async move { (n, dialer.reach(&paths, n).await) });
            } else if race.is_empty() {
                return Err(most_telling(failed, || self.place().0));
            }
            // Until one has failed, or was silent for a while.
            let more = waiting.peek().is_some();
            tokio::select! {
                ended = race.join_next() => match ended {
                    Some(Ok((n, Ok((made, addr))))) => return self.begin(paths, n, made, addr).await,
                    Some(Ok((n, Err(error)))) => failed.push((n, error)),
                    Some(Err(error)) => tracing::error!(event = "path-failed", %error, "an attempt to connect failed"),
                    None => {}
                },
                () = sleep(STAGGER), if more => {}
            }
        }
    }

    /// A connection over path `n`, and where the target was found; what comes of it is noted.
    async fn reach(&self, paths: &Paths, n: usize) -> Result<(Made, SocketAddr), ScmError> {
        let reached = self.try_over(paths, n).await;
        match &reached {
            Ok((_, addr)) => paths.proved(n, *addr),
            Err(error) => paths.died(n, &error.to_string()),
        }
        reached
    }

    async fn try_over(&self, paths: &Paths, n: usize) -> Result<(Made, SocketAddr), ScmError> {
        let path = &paths.all[n];
        let place = path.target.clone().unwrap_or_else(|| self.place());
        let target = shown(&place.0, place.1);
        let unreachable = |reason: String| ScmError::Unreachable { target: target.clone(), reason };
        let mut last = unreachable(format!("it has no address that can be reached from {}", path.local));
        for addr in Self::resolve(place).await? {
            if let Local::Address(local) = path.local
                && local.is_ipv4() != addr.is_ipv4()
            {
                continue;
            }
            let way = match paths.way(n, addr, addr) {
                Ok(way) => way,
                Err(e) => {
                    last = unreachable(format!("cannot begin at {}: {e}", path.local));
                    continue;
                }
            };
            let attempt = Attempt::on(&way);
            let made = self.handshake(addr, way, target.clone()).await;
            attempt.over();
            match made {
                Ok(made) => return Ok((made, addr)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A connection that was made over path `n` is used, and followed as long as it lives.
    async fn begin(&self, paths: &Arc<Paths>, n: usize, made: Made, addr: SocketAddr) -> Result<Streams, ScmError> {
        let (endpoint, connection) = (made.endpoint.clone(), made.connection.clone());
        let streams = self.open(made).await?;
        let seat = Seat::take(Arc::clone(paths), self.is_for_lanes(), n);
        let tended = tend::begin(seat, endpoint, connection, addr);
        Ok(Streams { held: Box::new((tended, streams.held)), ..streams })
    }
}

/// Of several failures the first that is not about keys: that one may be over soon. A wrong key is the answer where there is no other.
fn most_telling(mut failed: Vec<(usize, ScmError)>, host: impl Fn() -> String) -> ScmError {
    failed.sort_by_key(|(n, error)| (error.is_about_keys(), *n));
    let none = || ScmError::Resolve { host: host(), reason: "no path to it".to_owned() };
    failed.into_iter().next().map_or_else(none, |(_, error)| error)
}

async fn look_after(dialer: QuicDialer, paths: Arc<Paths>, n: usize) {
    loop {
        let due = paths.table.lock().due_in(n, Instant::now());
        if !due.is_zero() {
            tokio::select! {
                () = sleep(due) => {}
                () = paths.wanted[n].notified() => {}
            }
            continue;
        }
        let began = Instant::now();
        paths.table.lock().tries(n, began);
        match timeout(TRY_WITHIN, dialer.try_over(&paths, n)).await {
            Ok(Ok((made, addr))) => {
                paths.proved(n, addr);
                made.connection.close(VarInt::from_u32(0), b"it lives");
                // The last word leaves before the socket goes.
                let _timed_out = timeout(STAGGER, made.endpoint.wait_idle()).await;
            }
            // What a connection says meanwhile counts more.
            _ if paths.was_heard_since(n, began) => {}
            Ok(Err(error)) => failed(&paths, n, &error.to_string()),
            Err(_) => failed(&paths, n, &format!("no answer within {} s", TRY_WITHIN.as_secs())),
        }
    }
}

fn failed(paths: &Paths, n: usize, reason: &str) {
    tracing::debug!(event = "path-tried", path = %paths.all[n].local, reason, "a path was tried in vain");
    paths.died(n, reason);
}
