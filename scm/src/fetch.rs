//! The reader's end of a reading conversation (S10): connecting, asking, hearing. Several questions may be under way, from
//! several threads; what they are about and what becomes of the answers is the caller's.

use crate::ScmError;
use crate::session::{Dial, Streams};
use bytes::Bytes;
use platform::wire::{WireError, read_message, write_message};
use protocol::{
    Ask, CHUNK_BYTES, Fetch, FetchAck, FrameError, MAX_RESERVED, MIN_HASH_BLOCK_BYTES, Message, Refused, SeqNo, Told,
    VERSION,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a target may take to let a reader in, and to answer a question: its disk may be busy. That its machine is gone
/// is noticed earlier, by the transport.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Questions under way at once; further ones wait.
const UNDER_WAY: usize = 64;
/// Names on a page at most.
const MOST_NAMES: usize = 1024;
/// Extended attributes of one node: what the kernel lists of them is at most 64 KiB long.
const MOST_XATTRS: usize = 32 << 10;
/// How long the end of the conversation may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why nothing can be read, or no longer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection could not be made.
    #[error("{0}")]
    Scm(Arc<ScmError>),
    /// The target does not let this node read.
    #[error("{}", .0.text)]
    Refused(Refused),
    /// The connection ended in the middle.
    #[error("the connection to the target was lost: {0}")]
    Lost(String),
}

impl From<ScmError> for FetchError {
    fn from(error: ScmError) -> Self {
        Self::Scm(Arc::new(error))
    }
}

struct Question {
    ask: Ask,
    answer: oneshot::Sender<(Told, Bytes)>,
}

/// A conversation under way.
#[derive(Debug)]
pub struct Fetcher {
    ack: FetchAck,
    questions: mpsc::Sender<Question>,
    why_lost: Arc<OnceLock<String>>,
    driver: JoinHandle<()>,
}

/// A question that is under way.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<(Told, Bytes)>,
    why_lost: Arc<OnceLock<String>>,
}

impl Fetcher {
    /// Connects and says what is to be read; within a tokio runtime, which carries the conversation from then on.
    pub async fn connect(dialer: &dyn Dial, fetch: Fetch) -> Result<Self, FetchError> {
        let mut streams = dialer.dial().await?;
        let ack = match greet(&mut streams, fetch).await {
            Ok(ack) => ack,
            Err(FetchError::Lost(why)) => {
                return Err((streams.why_closed)().map_or(FetchError::Lost(why), FetchError::from));
            }
            Err(error) => return Err(error),
        };
        let (questions, asked) = mpsc::channel(1);
        let why_lost = Arc::new(OnceLock::new());
        let driver = tokio::spawn(drive(streams, asked, Arc::clone(&why_lost)));
        Ok(Self { ack, questions, why_lost, driver })
    }

    /// What the target said of the replica.
    pub fn ack(&self) -> &FetchAck {
        &self.ack
    }

    /// Asks; waits, where many questions are under way, until it is this one's turn. Not for threads of the runtime.
    pub fn send(&self, ask: Ask) -> Pending {
        let (answer, pending) = oneshot::channel();
        // A conversation that has ended drops the question, and whoever waits for the answer is told.
        let _ended = self.questions.blocking_send(Question { ask, answer });
        Pending { answer: pending, why_lost: Arc::clone(&self.why_lost) }
    }

    /// Ends the conversation.
    pub async fn close(self) {
        drop(self.questions);
        // Nothing is lost where the target does not say goodbye.
        let _ended = timeout(FAREWELL, self.driver).await;
    }
}

impl Pending {
    /// Waits for the answer. Not for threads of the runtime.
    pub fn wait(self) -> Result<(Told, Bytes), FetchError> {
        self.answer.blocking_recv().map_err(|_| {
            FetchError::Lost(self.why_lost.get().cloned().unwrap_or_else(|| "the conversation has ended".to_owned()))
        })
    }
}

async fn greet(streams: &mut Streams, fetch: Fetch) -> Result<FetchAck, FetchError> {
    let lost = |e: &dyn std::fmt::Display| FetchError::Lost(e.to_string());
    write_message(&mut streams.writer, &Message::Fetch(fetch)).await.map_err(|e| lost(&e))?;
    match timeout(ANSWER_WITHIN, read_message(&mut streams.reader)).await {
        Ok(Ok(Some(Message::FetchAck(ack)))) if ack.version == VERSION => Ok(ack),
        Ok(
            Ok(Some(Message::FetchAck(FetchAck { version: theirs, .. })))
            | Err(WireError::Frame(FrameError::Version(theirs))),
        ) => Err(FetchError::Refused(crate::other_version(theirs))),
        Ok(Ok(Some(Message::Refused(refused)))) => Err(FetchError::Refused(refused)),
        Ok(Ok(Some(_))) => Err(lost(&"the target spoke out of turn")),
        Ok(Ok(None)) => Err(lost(&"the target closed it")),
        Ok(Err(e)) => Err(lost(&e)),
        Err(_) => Err(lost(&"the target does not answer")),
    }
}

/// Carries the conversation until one side ends it. The reason is noted before anybody who waits is told.
async fn drive(streams: Streams, mut asked: mpsc::Receiver<Question>, why_lost: Arc<OnceLock<String>>) {
    let Streams { mut reader, mut writer, why_closed, held, .. } = streams;
    let lost = |why: String| {
        let why = why_closed().map_or(why, |error| error.to_string());
        why_lost.get_or_init(|| why);
    };
    let (under_way, answers) = mpsc::channel(UNDER_WAY);
    tokio::select! {
        () = ask(&mut writer, &mut asked, under_way, &lost) => {}
        () = hear(&mut reader, answers, &lost) => {}
    }
    drop(held);
}

/// Sends questions until nobody asks any more, then waits for the other half to end.
async fn ask(
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    asked: &mut mpsc::Receiver<Question>,
    under_way: mpsc::Sender<(SeqNo, oneshot::Sender<(Told, Bytes)>)>,
    lost: &(dyn Fn(String) + Sync),
) {
    let mut writer = writer;
    let mut number = SeqNo::ZERO;
    while let Some(Question { ask, answer }) = asked.recv().await {
        number = number.next();
        if under_way.send((number, answer)).await.is_err() {
            break;
        }
        if let Err(error) = write_message(&mut writer, &Message::Ask(number, ask)).await {
            return lost(error.to_string());
        }
    }
    // The target sees the end and closes; where it cannot be told any more, it is gone.
    let _gone = writer.shutdown().await;
    drop(under_way);
    std::future::pending::<()>().await;
}

async fn hear(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    mut answers: mpsc::Receiver<(SeqNo, oneshot::Sender<(Told, Bytes)>)>,
    lost: &(dyn Fn(String) + Sync),
) {
    let mut reader = reader;
    while let Some((number, answer)) = answers.recv().await {
        let why = match timeout(ANSWER_WITHIN, read_message(&mut reader)).await {
            Ok(Ok(Some(Message::Told(_, told, data)))) if !is_within_bounds(&told, &data) => {
                "the target answered more than can be asked for".to_owned()
            }
            Ok(Ok(Some(Message::Told(told_number, told, data)))) if told_number == number => {
                // Whoever asked may have stopped waiting.
                let _nobody = answer.send((told, data));
                continue;
            }
            Ok(Ok(Some(Message::Refused(refused)))) => refused.text,
            Ok(Ok(Some(_))) => "the target spoke out of turn".to_owned(),
            Ok(Ok(None)) => "the target closed it".to_owned(),
            Ok(Err(WireError::Frame(error))) => format!("unreadable answer: {error}"),
            Ok(Err(WireError::Io(error))) => error.to_string(),
            Err(_) => format!("no answer within {} s: its disk may hang", ANSWER_WITHIN.as_secs()),
        };
        return lost(why);
    }
    // Until the target has closed too: then it is known to have ended in order.
    let _rest = timeout(FAREWELL, read_message(&mut reader)).await;
}

/// Whether an answer is within what any question asks for: many wait here at once, and a frame may be far longer.
fn is_within_bounds(told: &Told, data: &[u8]) -> bool {
    let blocks = CHUNK_BYTES.div_ceil(MIN_HASH_BLOCK_BYTES.into());
    let most = |len: usize, most: u64| u64::try_from(len).is_ok_and(|len| len <= most);
    match told {
        Told::Data { holes, .. } => most(data.len(), CHUNK_BYTES) && most(holes.len(), blocks + 1),
        _ if !data.is_empty() => false,
        Told::Hashes { hashes, .. } => most(hashes.len(), blocks * 16),
        Told::Page(page) => page.entries.len() <= MOST_NAMES,
        Told::Reserved(stretches) => stretches.len() <= MAX_RESERVED,
        Told::Failed { text, .. } => most(text.len(), CHUNK_BYTES / 16),
        Told::Xattrs(pairs) => pairs.len() <= MOST_XATTRS,
        Told::Entry(_) => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use protocol::{FailedKind, Name, RelPath, ReplicaId};
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Mutex;
    use tokio::io::DuplexStream;

    /// Hands out one connection.
    struct Once(Mutex<Option<DuplexStream>>);

    impl Dial for Once {
        fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
            let (reader, writer) = tokio::io::split(self.0.lock().unwrap().take().unwrap());
            let (why_closed, welcomed) = (Box::new(|| None), Box::new(|| ()));
            let streams = Streams {
                reader: Box::new(reader),
                writer: Box::new(writer),
                why_closed,
                welcomed,
                goodput: Box::new(|| None),
                held: Box::new(()),
            };
            Box::pin(async { Ok(streams) })
        }
    }

    fn fetch() -> Fetch {
        Fetch { version: VERSION, software: "test".into(), name: Name::new(b"n").unwrap() }
    }

    fn told(number: u64) -> Message {
        let failed = Told::Failed { kind: FailedKind::Missing, text: number.to_string() };
        Message::Told(SeqNo::new(number), failed, Bytes::new())
    }

    /// A conversation with a target that answers the fetch with `first` and then hands over to `then`.
    async fn with<F>(
        first: Message,
        then: impl FnOnce(DuplexStream) -> F + Send + 'static,
    ) -> Result<Fetcher, FetchError>
    where
        F: Future<Output = ()> + Send,
    {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            assert_eq!(read_message(&mut theirs).await.unwrap(), Some(Message::Fetch(fetch())));
            write_message(&mut theirs, &first).await.unwrap();
            then(theirs).await;
        });
        Fetcher::connect(&Once(Mutex::new(Some(ours))), fetch()).await
    }

    fn welcome() -> Message {
        let replica = ReplicaId::from_bytes([1; 16]);
        Message::FetchAck(FetchAck { version: VERSION, software: "t".into(), replica, coherent: true, position: None })
    }

    fn ask() -> Ask {
        Ask::Stat { path: RelPath::root() }
    }

    async fn ask_twice(fetcher: Fetcher) -> [Result<(Told, Bytes), FetchError>; 2] {
        tokio::task::spawn_blocking(move || [fetcher.send(ask()), fetcher.send(ask())].map(Pending::wait))
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_come_to_those_who_asked_and_an_end_is_told_to_all() {
        let fetcher = with(welcome(), |mut stream| async move {
            for _ in 0..2 {
                read_message(&mut stream).await.unwrap();
            }
            write_message(&mut stream, &told(1)).await.unwrap();
            let refused = Refused { code: protocol::RefusalCode::Other, text: "enough".into() };
            write_message(&mut stream, &Message::Refused(refused)).await.unwrap();
        });
        let [first, second] = ask_twice(fetcher.await.unwrap()).await;
        assert!(matches!(first, Ok((Told::Failed { text, .. }, _)) if text == "1"));
        assert!(matches!(second, Err(FetchError::Lost(why)) if why == "enough"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_to_another_question_ends_it() {
        let fetcher = with(welcome(), |mut stream| async move {
            read_message(&mut stream).await.unwrap();
            write_message(&mut stream, &told(2)).await.unwrap();
            let _until_hung_up = read_message(&mut stream).await;
        });
        for answer in ask_twice(fetcher.await.unwrap()).await {
            assert!(matches!(&answer, Err(FetchError::Lost(why)) if why.contains("out of turn")), "{answer:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refusal_is_one() {
        let refused = Refused { code: protocol::RefusalCode::Owned, text: "no".into() };
        let refusal = with(Message::Refused(refused.clone()), |_| async {}).await.unwrap_err();
        assert!(matches!(refusal, FetchError::Refused(found) if found == refused));
    }
}
