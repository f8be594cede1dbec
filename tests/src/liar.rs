//! A target that lies: it completes TLS with a key that the source trusts, and then says what a test has it say, alone or in place of a real target that it
//! stands before (T8). Here is the mouth; the lies are the tests'.

use platform::wire::{read_message, write_message};
use protocol::frame::HEAD_BYTES;
use protocol::{Features, Frame, Message};
use scm::client::{Pinned, QuicDialer};
use scm::door::Door;
use scm::key::{Fingerprint, NodeKey};
use scm::keyring::Keyring;
use scm::server::{Incoming, listen};
use scm::session::Dial;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;

const CONNECT: Duration = Duration::from_secs(10);
const CRC_AT: usize = 44;

/// What it says.
#[derive(Clone, Debug)]
pub enum Say {
    /// A message that is well formed.
    This(Box<Message>),
    /// Bytes, whatever they are.
    Bytes(Vec<u8>),
    /// It hangs up.
    Close,
}

impl From<Message> for Say {
    fn from(message: Message) -> Self {
        Self::This(Box::new(message))
    }
}

/// What it says to each message of a source.
pub type Script = dyn Fn(&Message) -> Vec<Say> + Send + Sync;

/// What it says in place of a message of the real target; the first message of the connection says what that is for.
pub type Twist = dyn Fn(&Message, Message) -> Vec<Say> + Send + Sync;

/// Who it is.
#[derive(Clone, Debug)]
pub struct Face(Arc<Keyring>);

impl Face {
    /// With a key in this directory.
    #[track_caller]
    pub fn new(dir: &Path) -> Self {
        let key = NodeKey::load_or_create(&dir.join("liar.pem")).unwrap_or_else(|e| panic!("no key: {e}"));
        Self(Arc::new(Keyring::of(key).unwrap_or_else(|e| panic!("no keyring: {e}"))))
    }

    /// Its fingerprint: what a source is told to trust, and what a real target is to allow.
    pub fn key(&self) -> String {
        self.0.fingerprint().to_string()
    }
}

impl Door for Face {
    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.0)
    }

    fn knows(&self, _: Fingerprint) -> bool {
        true
    }

    fn pairs(&self) -> bool {
        false
    }

    fn met(&self, _: Fingerprint, _: Option<Fingerprint>, _: Option<Fingerprint>) {}
}

/// It listens until this is dropped.
#[derive(Debug)]
pub struct Liar {
    runtime: Option<Runtime>,
    address: SocketAddr,
    key: String,
}

#[derive(Clone)]
enum Mind {
    Alone(Arc<Script>),
    Before(Arc<QuicDialer>, Arc<Twist>),
}

impl Liar {
    /// One that answers by itself.
    #[track_caller]
    pub fn alone(face: &Face, script: Arc<Script>) -> Self {
        Self::start(face, Mind::Alone(script))
    }

    /// One that stands before a real target, which takes it for the source.
    #[track_caller]
    pub fn before(face: &Face, target: SocketAddr, key: &str, twist: Arc<Twist>) -> Self {
        let key: Fingerprint = key.parse().unwrap_or_else(|_| panic!("no fingerprint: {key}"));
        let known = Pinned::new(key, Arc::clone(&face.0));
        let dialer = QuicDialer::new(target.ip().to_string(), target.port(), known, CONNECT);
        Self::start(face, Mind::Before(Arc::new(dialer.for_lanes()), twist))
    }

    #[track_caller]
    fn start(face: &Face, mind: Mind) -> Self {
        let runtime = Runtime::new().unwrap_or_else(|e| panic!("no runtime: {e}"));
        let within = runtime.enter();
        let mut listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Arc::new(face.clone()))
            .unwrap_or_else(|e| panic!("it cannot listen: {e}"));
        let address = listener.local_addr();
        runtime.spawn(async move {
            while let Some(incoming) = listener.accept().await {
                tokio::spawn(talk(incoming, mind.clone()));
            }
        });
        drop(within);
        Self { runtime: Some(runtime), address, key: face.key() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its fingerprint.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn talk(incoming: Incoming, mind: Mind) {
    let (mut reader, mut writer) = (incoming.reader, incoming.writer);
    match mind {
        Mind::Alone(script) => {
            while let Ok(Some(message)) = read_message(&mut reader).await {
                if !say(&mut writer, script(&message)).await {
                    return;
                }
            }
        }
        Mind::Before(dialer, twist) => {
            let Ok(Some(mut first)) = read_message(&mut reader).await else { return };
            if let Message::Hello(hello) = &mut first {
                // It reads frames as they are.
                hello.features = Features::from_bits(hello.features.bits() & !Features::SHORT.bits());
            }
            let Ok(mut real) = dialer.dial().await else { return };
            if write_message(&mut real.writer, &first).await.is_err() {
                return;
            }
            let up = async {
                while let Ok(Some(message)) = read_message(&mut reader).await {
                    if write_message(&mut real.writer, &message).await.is_err() {
                        return;
                    }
                }
                let _gone = real.writer.shutdown().await;
                std::future::pending::<()>().await;
            };
            let down = async {
                while let Ok(Some(message)) = read_message(&mut real.reader).await {
                    if !say(&mut writer, twist(&first, message)).await {
                        return;
                    }
                }
            };
            tokio::select! {
                () = up => {}
                () = down => {}
            }
        }
    }
}

/// `false`: nothing more is said here.
async fn say(writer: &mut (impl AsyncWrite + Unpin), all: Vec<Say>) -> bool {
    for one in all {
        let said = match one {
            Say::This(message) => write_message(writer, &message).await,
            Say::Bytes(bytes) => writer.write_all(&bytes).await,
            Say::Close => return false,
        };
        if said.is_err() {
            return false;
        }
    }
    writer.flush().await.is_ok()
}

/// The bytes of a message with `from` in its header replaced by `to`, which is as long, and checksums that fit: what no honest end can say.
#[track_caller]
pub fn forged(message: &Message, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert!(from.len() == to.len() && !from.is_empty(), "a forgery is as long as what it replaces");
    let frame = Frame::encode(message);
    let mut bytes = frame.front.to_vec();
    let mut found = 0;
    for at in HEAD_BYTES..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "there is nothing to forge");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[HEAD_BYTES..]);
    bytes[CRC_AT..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&frame.payload);
    bytes
}
