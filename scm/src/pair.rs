//! The conversation in which two nodes become known to each other: one message each way, over a connection that carries nothing else. The
//! node is sure of the target by the fingerprint in the invitation, the target of the node by the secret in it, and each of
//! the other's key by the handshake; nobody between them learns the secret.

use crate::ScmError;
use crate::session::Dial;
use platform::wire::{WireError, read_message_within, write_message};
use protocol::{FrameError, Message, Pair, PairAck, RefusalCode, Refused, VERSION};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long either side may take to say its one thing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the other may take to hang up.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest message of a stranger, in bytes.
const LONGEST: usize = 4096;

/// Why two nodes do not know each other.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The target could not be reached, or is not the one that invited.
    #[error("{0}")]
    Scm(#[from] ScmError),
    /// The target does not want this node.
    #[error("{}", .0.text)]
    Refused(Refused),
    /// It did not answer, or not in order.
    #[error("the target does not answer as it should: {0}")]
    Lost(String),
}

/// The node's half.
pub async fn ask(dialer: &dyn Dial, pair: Pair) -> Result<PairAck, PairError> {
    let mut streams = dialer.dial().await?;
    let lost = |e: &dyn std::fmt::Display| PairError::Lost(e.to_string());
    let outcome = async {
        write_message(&mut streams.writer, &Message::Pair(pair)).await.map_err(|e| lost(&e))?;
        match timeout(PATIENCE, read_message_within(&mut streams.reader, LONGEST)).await {
            Ok(Ok(Some(Message::PairAck(ack)))) if ack.version == VERSION => Ok(ack),
            Ok(
                Ok(Some(Message::PairAck(PairAck { version: theirs, .. })))
                | Err(WireError::Frame(FrameError::Version(theirs))),
            ) => Err(PairError::Refused(crate::other_version(theirs))),
            Ok(Ok(Some(Message::Refused(refused)))) => Err(PairError::Refused(refused)),
            Ok(Ok(Some(_))) => Err(lost(&"it spoke out of turn")),
            Ok(Ok(None)) => Err(lost(&"it closed the connection")),
            Ok(Err(e)) => Err(lost(&e)),
            Err(_) => Err(lost(&"it says nothing")),
        }
    }
    .await;
    match outcome {
        Err(PairError::Lost(why)) => Err((streams.why_closed)().map_or(PairError::Lost(why), PairError::Scm)),
        other => other,
    }
}

/// The target's half: `judge` decides, in its own time.
pub async fn answer<R, W>(
    mut reader: R,
    mut writer: W,
    judge: impl FnOnce(Pair) -> Result<PairAck, Refused> + Send + 'static,
) -> Result<(), String>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let judged = match timeout(PATIENCE, read_message_within(&mut reader, LONGEST)).await {
        Ok(Ok(Some(Message::Pair(pair)))) if pair.version == VERSION => {
            tokio::task::spawn_blocking(move || judge(pair)).await.map_err(|e| e.to_string())?
        }
        Ok(
            Ok(Some(Message::Pair(Pair { version: theirs, .. }))) | Err(WireError::Frame(FrameError::Version(theirs))),
        ) => {
            let text = format!(
                "the source speaks protocol {theirs}, this target {VERSION}: use the same release on both sides"
            );
            Err(Refused { code: RefusalCode::Version, text })
        }
        Ok(Ok(_)) => return Err("it did not ask to be paired".to_owned()),
        Ok(Err(e)) => return Err(e.to_string()),
        Err(_) => return Err("it said nothing".to_owned()),
    };
    let (message, outcome) = match judged {
        Ok(ack) => (Message::PairAck(ack), Ok(())),
        Err(refused) => (Message::Refused(refused.clone()), Err(refused.text)),
    };
    let sent = timeout(PATIENCE, async {
        write_message(&mut writer, &message).await?;
        writer.shutdown().await
    });
    sent.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    // It hangs up when it has heard.
    let _gone = timeout(FAREWELL, read_message_within(&mut reader, LONGEST)).await;
    outcome
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::session::Streams;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;
    use tokio::io::{DuplexStream, duplex, split};

    /// One connection that is there already.
    struct There(Mutex<Option<DuplexStream>>);

    impl Dial for There {
        fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
            let (reader, writer) = split(self.0.lock().unwrap().take().unwrap());
            let (why_closed, welcomed) = (Box::new(|| None), Box::new(|| ()));
            let (reader, writer) = (Box::new(reader), Box::new(writer));
            let goodput = Box::new(|| None);
            Box::pin(async { Ok(Streams { reader, writer, why_closed, welcomed, goodput, held: Box::new(()) }) })
        }
    }

    fn pair(version: u8) -> Pair {
        Pair { version, software: "x".into(), name: "web1".into(), invitation: 1, secret: [2; 16] }
    }

    fn ack(version: u8) -> PairAck {
        let dir = protocol::Name::new(b"mail1").unwrap();
        PairAck { version, software: "x".into(), name: "backup".into(), dir }
    }

    /// What both halves come to.
    async fn meet(ours: u8, theirs: u8) -> (Result<PairAck, PairError>, Result<(), String>) {
        let (near, far) = duplex(LONGEST);
        let (reader, writer) = split(far);
        let there = There(Mutex::new(Some(near)));
        tokio::join!(ask(&there, pair(ours)), answer(reader, writer, move |_| Ok(ack(theirs))))
    }

    #[tokio::test]
    async fn two_of_one_version_are_paired() {
        let (asked, answered) = meet(VERSION, VERSION).await;
        assert_eq!(asked.unwrap(), ack(VERSION));
        answered.unwrap();
    }

    #[tokio::test]
    async fn another_version_is_named_with_ours_on_either_side() {
        for (ours, theirs) in [(VERSION + 1, VERSION), (VERSION, VERSION + 1)] {
            let (asked, _) = meet(ours, theirs).await;
            let Err(PairError::Refused(refused)) = asked else { panic!("{asked:?}") };
            assert_eq!(refused.code, RefusalCode::Version);
            for version in [VERSION, VERSION + 1] {
                assert!(refused.text.contains(&version.to_string()), "{}", refused.text);
            }
        }
    }

    #[tokio::test]
    async fn a_stranger_that_says_much_or_something_else_is_not_heard() {
        for message in [Message::Bye, Message::Pair(Pair { name: "x".repeat(LONGEST), ..pair(VERSION) })] {
            let (mut near, far) = duplex(LONGEST * 4);
            let (reader, writer) = split(far);
            let said = async move {
                let _closed = write_message(&mut near, &message).await;
            };
            let ((), answered) = tokio::join!(said, answer(reader, writer, |_| panic!("it is not asked about")));
            answered.unwrap_err();
        }
    }
}
