//! Reading replicas for their owners (S10): who may, and the conversation. It changes nothing, needs no lock on ROOT, and
//! goes on beside a session of the same source. What the answers are is in `answers`.

mod answers;

use crate::admit::{not_given, open_dir, refused, speaks};
use crate::clean::Clean;
use crate::error::{TargetError, text};
use crate::home::standing;
use crate::inbox::unreadable;
use crate::owner::Owner;
use crate::peer::Peer;
use crate::position::{Boot, SlotFile};
use crate::root::OWN;
use crate::session::{HELLO_TIMEOUT, READ_BUFFER_BYTES, refuse};
use answers::Tree;
use bytes::Bytes;
use platform::wire::{WireError, read_message, write_message};
use protocol::{Fetch, FetchAck, Message, Position, RefusalCode, Refused, SeqNo, Told, VERSION};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Nodes that are read for at once.
const READERS: usize = 8;
/// Questions of one reader that are worked on at once; each answer has at most [`protocol::CHUNK_BYTES`] of data.
const UNDER_WAY: usize = 8;

/// An answer that is being made.
type Answer = JoinHandle<(SeqNo, Told, Bytes)>;

/// The replicas of one ROOT, to be read.
#[derive(Debug)]
pub struct Reading {
    /// ROOT.
    root: OwnedFd,
    /// ROOT/.replfs.
    own: OwnedFd,
    software: String,
    readers: Semaphore,
}

impl Reading {
    /// Opens a ROOT of this machine for reading, whether or not a daemon has it. `software`: this program's version.
    pub fn open(root: &Path, software: &str) -> Result<Arc<Self>, TargetError> {
        let fail = |source: io::Error| TargetError::NoRoot { path: root.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| fail(e.into()))?;
        let own = open_dir(&fd, OWN.as_bytes()).map_err(fail)?;
        Ok(Arc::new(Self::new(fd, own, software)))
    }

    pub(crate) fn of(root: &OwnedFd, own: &OwnedFd, software: &str) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self::new(root.try_clone()?, own.try_clone()?, software)))
    }

    fn new(root: OwnedFd, own: OwnedFd, software: &str) -> Self {
        Self { root, own, software: software.to_owned(), readers: Semaphore::new(READERS) }
    }

    /// Serves one reader, whose key has the fingerprint `peer`, until its connection ends; within a tokio runtime. For a
    /// ROOT that no daemon of this process has.
    pub async fn serve<R, W>(
        self: Arc<Self>,
        peer: impl Into<Peer> + Send,
        reader: R,
        mut writer: W,
    ) -> Result<(), TargetError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let peer = peer.into();
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, reader);
        match tokio::time::timeout(HELLO_TIMEOUT, read_message(&mut reader)).await {
            Ok(Ok(Some(Message::Fetch(fetch)))) => self.answer(fetch, &peer, reader, writer).await,
            Ok(Ok(None)) => Ok(()),
            Ok(Err(WireError::Io(source))) => Err(TargetError::Connection { name: peer.key, source }),
            _ => {
                let why = refused(RefusalCode::Protocol, "the first message must be a fetch");
                refuse(&mut reader, &mut writer, peer.key, why).await
            }
        }
    }

    /// Serves a reader that has said what it wants to read.
    pub(crate) async fn answer<R, W>(
        self: &Arc<Self>,
        fetch: Fetch,
        peer: &Peer,
        mut reader: R,
        mut writer: W,
    ) -> Result<(), TargetError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let name = fetch.name.to_string();
        let Ok(_place) = self.readers.try_acquire() else {
            let why = refused(RefusalCode::Busy, "too many restores at once: try again when one has ended");
            return refuse(&mut reader, &mut writer, name, why).await;
        };
        let opened = tokio::task::spawn_blocking({
            let (reading, peer) = (Arc::clone(self), peer.clone());
            move || reading.admit(&fetch, &peer)
        });
        let failed = |e| Err(refused(RefusalCode::Other, format!("the target failed: {e}")));
        let (tree, ack) = match opened.await.unwrap_or_else(failed) {
            Ok(admitted) => admitted,
            Err(why) => return refuse(&mut reader, &mut writer, name, why).await,
        };
        tracing::info!(event = "read", %name, peer = peer.key, "a replica is read by its owner");
        let lost = |source| TargetError::Connection { name: name.clone(), source };
        write_message(&mut writer, &Message::FetchAck(ack)).await.map_err(lost)?;
        match converse(&Arc::new(tree), &mut reader, &mut writer).await {
            Ok(None) => Ok(()),
            Ok(Some(why)) => refuse(&mut reader, &mut writer, name, why).await,
            Err(source) => Err(TargetError::Connection { name, source }),
        }
    }

    /// Whether this node may read this replica; what it then sees. Makes and changes nothing.
    fn admit(&self, fetch: &Fetch, peer: &Peer) -> Result<(Tree, FetchAck), Refused> {
        let name = &fetch.name;
        speaks("reader", fetch.version)?;
        let missing = || {
            let why = format!("there is no replica '{name}' here: 'replfs status' on the target lists those that are");
            refused(RefusalCode::Missing, why)
        };
        let fail = |e: io::Error| {
            refused(RefusalCode::Other, format!("the target cannot read the replica '{name}': {}", text(&e)))
        };
        // Before anything is looked for: what else is here is none of its business.
        if !peer.may(name) {
            return Err(not_given(peer, name));
        }
        if name.as_bytes().starts_with(OWN.as_bytes()) {
            return Err(missing());
        }
        let meta = match open_dir(&self.own, name.as_bytes()) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Err(missing()),
            result => result.map_err(fail)?,
        };
        let owner = Owner::read(meta.as_fd()).map_err(fail)?.ok_or_else(missing)?;
        if !peer.owns(name, &owner.source) {
            let why = format!(
                "'{name}' belongs to another source ({}), this node is {}: restore with that node's key (its --state)",
                owner.source, peer.key
            );
            return Err(refused(RefusalCode::Owned, why));
        }
        let tree = match open_dir(&self.root, name.as_bytes()) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
                let why =
                    format!("the directory of the replica '{name}' is missing on the target: is the disk mounted?");
                return Err(refused(RefusalCode::Changed, why));
            }
            result => result.map_err(fail)?,
        };
        // A copy of a ROOT is as good to read, but nobody knows whether it is whole.
        let same = platform::sys::attr::stat(&tree).map_err(fail)?.st_ino == owner.inode;
        let (position, coherent) = stands(&meta).map_err(fail)?;
        let replica = owner.replica().map_err(fail)?;
        let software = self.software.clone();
        let ack = FetchAck { version: VERSION, software, replica, coherent: coherent && same, position };
        Ok((Tree::new(tree, name.clone()), ack))
    }
}

/// How far a replica is, and whether it is a state that the source had.
fn stands(meta: &OwnedFd) -> io::Result<(Option<Position>, bool)> {
    let meta = meta.as_fd();
    let (here, synced) = (SlotFile::peek(meta, "position")?, SlotFile::peek(meta, "durable")?);
    let Some(state) = standing(Boot::current()?, here, synced, Clean::read(meta)?.as_ref()) else {
        return Ok((None, false));
    };
    let durable = synced.filter(|s| s.incarnation == state.incarnation).map_or(0, |s| s.applied.min(state.applied));
    let position =
        Position { incarnation: state.incarnation, applied: SeqNo::new(state.applied), durable: SeqNo::new(durable) };
    Ok((Some(position), state.coherent))
}

/// Answers questions in their order until the stream ends (`None`), or for one that is no question (`Some`). Not all that
/// was asked is answered where the stream fails.
async fn converse<R, W>(tree: &Arc<Tree>, reader: &mut R, writer: &mut W) -> io::Result<Option<Refused>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (made, answers) = mpsc::channel(UNDER_WAY);
    let asking = receive(tree, reader, made);
    let answering = send(answers, writer);
    tokio::pin!(asking, answering);
    tokio::select! {
        asked = &mut asking => {
            answering.await?;
            asked
        }
        // It only ends before the questions do when it cannot go on.
        told = &mut answering => told.map(|()| None),
    }
}

async fn receive<R>(tree: &Arc<Tree>, reader: &mut R, made: mpsc::Sender<Answer>) -> io::Result<Option<Refused>>
where
    R: AsyncRead + Unpin,
{
    loop {
        let (number, ask) = match read_message(reader).await {
            Ok(Some(Message::Ask(number, ask))) => (number, ask),
            Ok(Some(_)) => return Ok(Some(refused(RefusalCode::Protocol, "a message out of order"))),
            Ok(None) => return Ok(None),
            Err(WireError::Io(e)) => return Err(e),
            Err(WireError::Frame(e)) => return Ok(Some(unreadable(&e))),
        };
        // Room first: what waits for it is not worked on.
        let Ok(place) = made.reserve().await else { return Ok(None) };
        let tree = Arc::clone(tree);
        place.send(tokio::task::spawn_blocking(move || {
            let (told, data) = tree.answer(&ask);
            (number, told, data)
        }));
    }
}

async fn send<W: AsyncWrite + Unpin>(mut answers: mpsc::Receiver<Answer>, writer: &mut W) -> io::Result<()> {
    while let Some(answer) = answers.recv().await {
        let (number, told, data) = answer.await.map_err(io::Error::other)?;
        write_message(writer, &Message::Told(number, told, data)).await?;
    }
    writer.flush().await
}
