//! Real QUIC on loopback: who gets in and who does not.
#![allow(clippy::unwrap_used)]

use replfs_scm::ScmError;
use replfs_scm::client::QuicDialer;
use replfs_scm::key::{Fingerprint, NodeKey};
use replfs_scm::server::{Listener, listen};
use replfs_scm::session::Dial;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(5);

fn key() -> Arc<NodeKey> {
    let dir = tempfile::tempdir().unwrap();
    Arc::new(NodeKey::load_or_create(&dir.path().join("key.pem")).unwrap())
}

fn server(key: &NodeKey, allow: Fingerprint) -> Listener {
    listen((Ipv4Addr::LOCALHOST, 0).into(), key, vec![allow]).unwrap()
}

fn dialer(port: u16, expected: Fingerprint, key: Arc<NodeKey>) -> QuicDialer {
    QuicDialer::new("127.0.0.1".into(), port, expected, key, PATIENCE)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_know_each_other_talk() {
    let (target, source) = (key(), key());
    let mut listener = server(&target, source.fingerprint());
    let port = listener.local_addr().port();
    let ours = source.fingerprint();
    let echo = tokio::spawn(async move {
        let mut incoming = listener.accept().await.unwrap();
        assert_eq!(incoming.peer, ours);
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
async fn a_target_with_another_key_is_refused_and_both_fingerprints_are_named() {
    let (target, source, other) = (key(), key(), key());
    let listener = server(&target, source.fingerprint());
    let port = listener.local_addr().port();
    let error = dialer(port, other.fingerprint(), source).dial().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ScmError::WrongKey { .. }), "{text}");
    assert!(text.contains(&target.fingerprint().to_string()) && text.contains(&other.fingerprint().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_on_the_list_is_refused_and_learns_why() {
    let (target, source, other) = (key(), key(), key());
    let listener = server(&target, other.fingerprint());
    let port = listener.local_addr().port();
    let error = match dialer(port, target.fingerprint(), Arc::clone(&source)).dial().await {
        Err(error) => Some(error),
        Ok(mut streams) => {
            let _refused_or_not_yet = streams.writer.write_all(b"hello").await;
            assert!(!matches!(streams.reader.read(&mut [0; 1]).await, Ok(1..)), "nothing is answered");
            (streams.why_closed)()
        }
    };
    assert!(matches!(&error, Some(ScmError::NotAllowed { .. })), "{error:?}");
    assert!(error.unwrap().to_string().contains(&source.fingerprint().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_port_is_given_up_in_time() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let source = key();
    let dialer = QuicDialer::new(
        "127.0.0.1".into(),
        silent.local_addr().unwrap().port(),
        source.fingerprint(),
        source,
        Duration::from_millis(300),
    );
    let since = Instant::now();
    assert!(matches!(dialer.dial().await, Err(ScmError::Unreachable { .. })));
    assert!(since.elapsed() < Duration::from_secs(3));
}
