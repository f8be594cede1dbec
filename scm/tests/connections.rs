//! Real QUIC on loopback: who gets in and who does not.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use parking_lot::Mutex;
use platform::wire::{Heard, Messages};
use protocol::{Draft, Features, Mark, Op, SeqNo};
use replfs_scm::ScmError;
use replfs_scm::client::{Pinned, QuicDialer};
use replfs_scm::door::Door;
use replfs_scm::key::{Fingerprint, NodeKey};
use replfs_scm::keyring::Keyring;
use replfs_scm::server::{Listener, Purpose, listen};
use replfs_scm::session::{Dial, Streams};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(5);

fn key() -> Arc<Keyring> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Keyring::of(NodeKey::load_or_create(&dir.path().join("key.pem")).unwrap()).unwrap())
}

/// Knows a list of keys, which a test may change.
#[derive(Debug)]
struct Listed {
    keyring: Arc<Keyring>,
    known: Mutex<Vec<Fingerprint>>,
    pairs: AtomicBool,
}

impl Door for Listed {
    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    fn knows(&self, key: Fingerprint) -> bool {
        self.known.lock().contains(&key)
    }

    fn pairs(&self) -> bool {
        self.pairs.load(Ordering::Relaxed)
    }

    fn met(&self, _: Fingerprint, _: Option<Fingerprint>, _: Option<Fingerprint>) {}
}

fn door(keyring: &Arc<Keyring>, allow: Fingerprint) -> Arc<Listed> {
    Arc::new(Listed { keyring: Arc::clone(keyring), known: Mutex::new(vec![allow]), pairs: AtomicBool::new(false) })
}

fn server(keyring: &Arc<Keyring>, allow: Fingerprint) -> Listener {
    listen((Ipv4Addr::LOCALHOST, 0).into(), door(keyring, allow)).unwrap()
}

fn dialer(port: u16, expected: Fingerprint, keyring: Arc<Keyring>) -> QuicDialer {
    QuicDialer::new("127.0.0.1".into(), port, Pinned::new(expected, keyring), PATIENCE)
}

/// How a connection ends on which nothing is to be answered.
async fn ending(dialed: Result<Streams, ScmError>) -> Option<ScmError> {
    match dialed {
        Err(error) => Some(error),
        Ok(mut streams) => {
            let _refused_or_not_yet = streams.writer.write_all(b"hello").await;
            assert!(!matches!(streams.reader.read(&mut [0; 1]).await, Ok(1..)), "nothing is answered");
            (streams.why_closed)()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_know_each_other_talk() {
    let (target, source) = (key(), key());
    let mut listener = server(&target, source.fingerprint());
    let port = listener.local_addr().port();
    let ours = source.fingerprint();
    let echo = tokio::spawn(async move {
        let mut incoming = listener.accept().await.unwrap();
        assert_eq!((incoming.peer, incoming.purpose), (ours, Purpose::Work));
        let mut word = [0; 5];
        incoming.reader.read_exact(&mut word).await.unwrap();
        incoming.writer.write_all(&word).await.unwrap();
        // Dropped at once: the last words arrive all the same.
    });
    let mut streams = dialer(port, target.fingerprint(), source).dial().await.unwrap();
    streams.writer.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    streams.reader.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    echo.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_content_is_given_away_in_the_datagrams_that_brought_it() {
    /// A datagram's, at most. What is copied comes in larger parts.
    const MOST: usize = 6500;
    let (target, source) = (key(), key());
    let mut listener = server(&target, source.fingerprint());
    let port = listener.local_addr().port();
    let heard = tokio::spawn(async move {
        let incoming = listener.accept().await.unwrap();
        let mut messages = Messages::new(incoming.reader, Features::default());
        (messages.next().await.unwrap(), incoming.writer)
    });
    let mut streams = dialer(port, target.fingerprint(), source).dial().await.unwrap();
    let payload = Bytes::from(vec![7; 1 << 20]);
    let frame = Draft::new(&Op::Mark(Mark::Barrier), payload.clone()).number(SeqNo::new(1), 0, false);
    streams.writer.write_all(&frame.front).await.unwrap();
    streams.writer.write_all(&frame.payload).await.unwrap();
    let (Some(Heard::Record(_, parts)), _writer) = heard.await.unwrap() else { panic!("no record") };
    let longest = parts.parts().iter().map(Bytes::len).max().unwrap();
    assert!(longest <= MOST, "a part of {longest} bytes");
    assert!(parts.whole() == payload);
}

// claim: A229
#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_another_key_is_refused_and_both_fingerprints_are_named() {
    let (target, source, other) = (key(), key(), key());
    let listener = server(&target, source.fingerprint());
    let port = listener.local_addr().port();
    let error = dialer(port, other.fingerprint(), source).dial().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ScmError::WrongKey { .. }), "{text}");
    assert!(text.contains(&target.fingerprint().to_string()) && text.contains(&other.fingerprint().to_string()));
    assert!(text.contains("pair with it again"), "what to do: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_known_is_refused_and_learns_why() {
    let (target, source, other) = (key(), key(), key());
    let listener = server(&target, other.fingerprint());
    let port = listener.local_addr().port();
    let error = ending(dialer(port, target.fingerprint(), Arc::clone(&source)).dial().await).await;
    assert!(matches!(&error, Some(ScmError::NotAllowed { .. })), "{error:?}");
    assert!(error.unwrap().to_string().contains(&source.fingerprint().to_string()));
}

// claim: A230
#[tokio::test(flavor = "multi_thread")]
async fn while_an_invitation_is_open_a_stranger_comes_in_for_pairing_and_for_nothing_else() {
    let (target, source, other) = (key(), key(), key());
    let door = door(&target, other.fingerprint());
    door.pairs.store(true, Ordering::Relaxed);
    let mut listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&door) as Arc<_>).unwrap();
    let stranger = dialer(listener.local_addr().port(), target.fingerprint(), Arc::clone(&source));
    let error = ending(stranger.dial().await).await;
    assert!(matches!(&error, Some(ScmError::NotAllowed { .. })), "{error:?}");
    let mut streams = stranger.for_pairing().dial().await.unwrap();
    streams.writer.write_all(b"hello").await.unwrap();
    let incoming = listener.accept().await.unwrap();
    assert_eq!((incoming.peer, incoming.purpose), (source.fingerprint(), Purpose::Pair));
    door.pairs.store(false, Ordering::Relaxed);
    let error = ending(stranger.for_pairing().dial().await).await;
    assert!(matches!(&error, Some(ScmError::NotAllowed { .. })), "none is open any more: {error:?}");
}

// claim: A231
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_known_any_more_loses_his_open_connection_at_once() {
    let (target, source) = (key(), key());
    let door = door(&target, source.fingerprint());
    let mut listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&door) as Arc<_>).unwrap();
    let dialer = dialer(listener.local_addr().port(), target.fingerprint(), source);
    let mut streams = dialer.dial().await.unwrap();
    streams.writer.write_all(b"hello").await.unwrap();
    let mut incoming = listener.accept().await.unwrap();
    listener.watch().recheck();
    incoming.reader.read_exact(&mut [0; 5]).await.unwrap();
    door.known.lock().clear();
    listener.watch().recheck();
    let since = Instant::now();
    assert!(!matches!(streams.reader.read(&mut [0; 1]).await, Ok(1..)));
    assert!(matches!((streams.why_closed)(), Some(ScmError::NotAllowed { .. })));
    assert!(since.elapsed() < Duration::from_secs(2), "that was no time-out");
    assert!(matches!(ending(dialer.dial().await).await, Some(ScmError::NotAllowed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_port_is_given_up_in_time() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let source = key();
    let dialer = QuicDialer::new(
        "127.0.0.1".into(),
        silent.local_addr().unwrap().port(),
        Pinned::new(source.fingerprint(), source),
        Duration::from_millis(300),
    );
    let since = Instant::now();
    assert!(matches!(dialer.dial().await, Err(ScmError::Unreachable { .. })));
    assert!(since.elapsed() < Duration::from_secs(3));
}
