//! A network link between two UDP endpoints on this machine that can be cut, mended and slowed down. It forwards datagrams
//! and knows nothing of what is in them. What loses, doubles and delays them is in `weather`.

use crate::weather::{Lane, Weather};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Datagrams that wait for their delay, each way; beyond that they are dropped, as a router would.
const QUEUE: usize = 20_000;

/// Threads look at this interval whether the link is gone.
const TICK: Duration = Duration::from_millis(100);

/// The link. Dropping it closes both sides.
pub struct Link {
    state: Arc<State>,
    address: SocketAddr,
}

struct State {
    far: Mutex<SocketAddr>,
    cut: AtomicBool,
    /// Only what the far side sends is lost.
    deaf: AtomicBool,
    /// Only what the near side sends is lost.
    mute: AtomicBool,
    gone: AtomicBool,
    weather: Mutex<Weather>,
    /// There and back.
    lanes: [Mutex<Lane>; 2],
    forwarded: AtomicU64,
    bytes_there: AtomicU64,
    bytes_back: AtomicU64,
}

/// A datagram on its way.
struct Due {
    at: Instant,
    through: Arc<UdpSocket>,
    /// `None`: where the socket is connected to.
    to: Option<SocketAddr>,
    data: Vec<u8>,
}

/// Room for datagrams that were not passed on yet.
const ROOM_BYTES: usize = 16 << 20;

impl Link {
    /// A link to `far`, open, without delay.
    pub fn to(far: SocketAddr) -> io::Result<Self> {
        let near = Arc::new(UdpSocket::bind("127.0.0.1:0")?);
        widen(&near)?;
        near.set_read_timeout(Some(TICK))?;
        let address = near.local_addr()?;
        let state = Arc::new(State {
            far: Mutex::new(far),
            cut: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            weather: Mutex::new(Weather::default()),
            lanes: [1, 2].map(|seed| Mutex::new(Lane::new(seed))),
            forwarded: AtomicU64::new(0),
            bytes_there: AtomicU64::new(0),
            bytes_back: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::Builder::new().name("link".into()).spawn(move || forward(&shared, &near))?;
        Ok(Self { state, address })
    }

    /// Where the near side connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Points the link somewhere else: new senders go there.
    pub fn redirect(&self, far: SocketAddr) {
        *self.state.far.lock().unwrap_or_else(PoisonError::into_inner) = far;
    }

    /// From now on every datagram is lost, both ways, those under way included.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// From now on every datagram of the far side is lost; those of the near side arrive.
    pub fn deafen(&self) {
        self.state.deaf.store(true, Ordering::SeqCst);
    }

    /// From now on every datagram of the near side is lost; those of the far side arrive.
    pub fn silence(&self) {
        self.state.mute.store(true, Ordering::SeqCst);
    }

    /// Datagrams pass again, both ways.
    pub fn mend(&self) {
        self.state.mute.store(false, Ordering::SeqCst);
        self.state.deaf.store(false, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Each datagram takes this long, in each direction.
    pub fn delay(&self, one_way: Duration) {
        self.set_weather(Weather { delay: one_way, ..Weather::default() });
    }

    /// What happens to datagrams from now on.
    pub fn set_weather(&self, weather: Weather) {
        *self.state.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Datagrams forwarded so far, both ways.
    pub fn forwarded(&self) -> u64 {
        self.state.forwarded.load(Ordering::SeqCst)
    }

    /// Bytes forwarded so far from the far to the near side, as [`Self::bytes_there`].
    pub fn bytes_back(&self) -> u64 {
        self.state.bytes_back.load(Ordering::SeqCst)
    }

    /// Bytes forwarded so far from the near to the far side, the headers of UDP and IP left out.
    pub fn bytes_there(&self) -> u64 {
        self.state.bytes_there.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.gone.store(true, Ordering::SeqCst);
    }
}

impl State {
    fn gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Whether datagrams to the near side (`Some`), or to the far one, are lost.
    fn is_cut(&self, to: Option<SocketAddr>) -> bool {
        let one_way = if to.is_some() { &self.deaf } else { &self.mute };
        self.cut.load(Ordering::SeqCst) || one_way.load(Ordering::SeqCst)
    }

    /// Sends at once, or hands over to the thread that waits.
    fn pass(&self, later: &SyncSender<Due>, through: &Arc<UdpSocket>, to: Option<SocketAddr>, data: &[u8]) {
        if self.is_cut(to) {
            return;
        }
        let weather = *self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        if weather == Weather::default() {
            return self.send(through, to, data);
        }
        let lane = &self.lanes[usize::from(to.is_some())];
        let arrivals =
            lane.lock().unwrap_or_else(PoisonError::into_inner).arrivals(&weather, data.len(), Instant::now());
        for at in arrivals {
            let due = Due { at, through: Arc::clone(through), to, data: data.to_vec() };
            if let Err(TrySendError::Full(_)) = later.try_send(due) {
                eprintln!("link: more than {QUEUE} datagrams under way, one dropped");
            }
        }
    }

    fn send(&self, socket: &UdpSocket, to: Option<SocketAddr>, data: &[u8]) {
        // A refused or failed datagram is a lost one: that is what UDP promises.
        let sent = match to {
            Some(to) => socket.send_to(data, to),
            None => socket.send(data),
        };
        if sent.is_ok() {
            self.forwarded.fetch_add(1, Ordering::SeqCst);
            if to.is_none() {
                self.bytes_there.fetch_add(data.len() as u64, Ordering::SeqCst);
            } else {
                self.bytes_back.fetch_add(data.len() as u64, Ordering::SeqCst);
            }
        }
    }
}

/// Reads what near senders send; each has a socket of its own towards the far side.
/// What the kernel drops for want of room is a fault that nobody asked for.
fn widen(socket: &UdpSocket) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, ROOM_BYTES)?)
}

fn forward(state: &Arc<State>, near: &Arc<UdpSocket>) {
    let (there, due) = sync_channel(QUEUE);
    deliver(state, due);
    let mut senders: HashMap<SocketAddr, (SocketAddr, Arc<UdpSocket>)> = HashMap::new();
    let mut buffer = vec![0; 65536];
    while !state.gone() {
        let Ok((len, from)) = near.recv_from(&mut buffer) else { continue };
        let far = *state.far.lock().unwrap_or_else(PoisonError::into_inner);
        let known = senders.get(&from).filter(|(to, _)| *to == far).map(|(_, socket)| Arc::clone(socket));
        let socket = match known.map_or_else(|| answer(state, near, from, far), Ok) {
            Ok(socket) => socket,
            Err(error) => {
                eprintln!("link: cannot open a socket towards {far}: {error}");
                continue;
            }
        };
        senders.insert(from, (far, Arc::clone(&socket)));
        state.pass(&there, &socket, None, &buffer[..len]);
    }
}

/// Opens the socket of one near sender and starts the thread that brings back the answers.
fn answer(state: &Arc<State>, near: &Arc<UdpSocket>, from: SocketAddr, far: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let here = if far.ip().is_loopback() { "127.0.0.1:0" } else { "0.0.0.0:0" };
    let socket = Arc::new(UdpSocket::bind(here)?);
    widen(&socket)?;
    socket.connect(far)?;
    socket.set_read_timeout(Some(TICK))?;
    let (state, near, reader) = (Arc::clone(state), Arc::clone(near), Arc::clone(&socket));
    thread::Builder::new().name("link back".into()).spawn(move || {
        let (back, due) = sync_channel(QUEUE);
        deliver(&state, due);
        let mut buffer = vec![0; 65536];
        while !state.gone() {
            match reader.recv(&mut buffer) {
                Ok(len) => state.pass(&back, &near, Some(from), &buffer[..len]),
                // Nobody listens on the far side at the moment: the error comes at once, so wait a little.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => thread::sleep(TICK / 10),
                Err(_) => {}
            }
        }
    })?;
    Ok(socket)
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// Starts the thread that sends what is due, when it is.
fn deliver(state: &Arc<State>, due: Receiver<Due>) {
    let state = Arc::clone(state);
    thread::spawn(move || {
        let mut waiting: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
        loop {
            let next = waiting.peek().map(|Reverse(due)| due.at.saturating_duration_since(Instant::now()));
            match next.map_or_else(|| due.recv().map_err(RecvTimeoutError::from), |wait| due.recv_timeout(wait)) {
                Ok(datagram) => waiting.push(Reverse(datagram)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while waiting.peek().is_some_and(|Reverse(due)| due.at <= Instant::now()) {
                let Some(Reverse(due)) = waiting.pop() else { break };
                if !state.is_cut(due.to) {
                    state.send(&due.through, due.to, &due.data);
                }
            }
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn echo() -> (Link, UdpSocket) {
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = Link::to(far.local_addr().unwrap()).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 100];
            while let Ok((len, from)) = far.recv_from(&mut buffer) {
                far.send_to(&buffer[..len], from).unwrap();
            }
        });
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        near.connect(link.address()).unwrap();
        near.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        (link, near)
    }

    #[test]
    fn a_cut_link_loses_everything_and_a_mended_one_nothing() {
        let (link, near) = echo();
        let mut buffer = [0; 100];
        let mut asked = |text: &[u8]| {
            near.send(text).unwrap();
            near.recv(&mut buffer).map(|len| buffer[..len].to_vec())
        };
        assert_eq!(asked(b"one").unwrap(), b"one");
        link.cut();
        assert!(asked(b"two").is_err());
        link.mend();
        assert_eq!(asked(b"three").unwrap(), b"three");
        // Counted after it was sent.
        crate::wait::until("four to be counted", crate::wait::PATIENCE, || (link.forwarded() == 4).then_some(()));
    }

    #[test]
    fn what_the_far_side_says_can_be_lost_alone() {
        let (link, near) = echo();
        link.deafen();
        near.send(b"one").unwrap();
        assert!(near.recv(&mut [0; 10]).is_err());
        assert_eq!(link.bytes_there(), 3);
        link.mend();
        near.send(b"two").unwrap();
        assert_eq!(near.recv(&mut [0; 10]).unwrap(), 3);
    }

    #[test]
    fn what_the_near_side_says_can_be_lost_alone() {
        let (link, near) = echo();
        link.silence();
        near.send(b"one").unwrap();
        assert!(near.recv(&mut [0; 10]).is_err());
        assert_eq!(link.bytes_there(), 0);
    }

    #[test]
    fn bad_weather_doubles_and_loses() {
        let (link, near) = echo();
        link.set_weather(Weather { doubled_permille: 1000, ..Weather::default() });
        near.send(b"x").unwrap();
        for _ in 0..4 {
            near.recv(&mut [0; 10]).unwrap();
        }
        link.set_weather(Weather { lost_permille: 1000, ..Weather::default() });
        near.send(b"y").unwrap();
        assert!(near.recv(&mut [0; 10]).is_err());
    }

    #[test]
    fn a_delay_counts_each_way() {
        let (link, near) = echo();
        link.delay(Duration::from_millis(50));
        let start = Instant::now();
        near.send(b"x").unwrap();
        near.recv(&mut [0; 10]).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    }
}
