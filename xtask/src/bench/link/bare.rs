//! Bare QUIC beside which replfs is measured: a stream that is taken in, questions that are answered. Each end has threads of its own, as
//! the two daemons have; what is measured is in the cases.

use crate::bench::quic::{Ends, Manner, NAME};
use anyhow::{Context, Result, bail};
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of a piece that connections share.
pub const SHARED: usize = 1 << 20;

/// Pieces that one of them has under way: more than its part of any line holds.
const AHEAD: usize = 2;

/// Bytes that are taken in at once.
const PIECE: usize = 64 << 10;

/// How long one thing may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the far end does with a stream.
#[derive(Clone, Debug)]
pub enum Far {
    /// Reads it to its end, and says so.
    Discards,
    /// Writes it into a new file of this name, and says so.
    Keeps(PathBuf),
    /// Answers each question on it, with so many bytes.
    Answers(usize),
    /// Reads it to its end, and says so of each [`SHARED`] bytes.
    Counts,
}

/// Both ends.
pub struct Bare {
    near: Runtime,
    far: Runtime,
    ends: Arc<Ends>,
}

/// One connection, and what it goes to.
pub struct Line<'a> {
    bare: &'a Bare,
    connection: Connection,
    // Whoever lets go of it closes the connection.
    _endpoint: Endpoint,
}

impl Bare {
    /// Threads and a certificate; no connection yet.
    pub fn new() -> Result<Self> {
        let threads = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
        Ok(Self { near: threads()?, far: threads()?, ends: Arc::new(Ends::new()?) })
    }

    /// An end that accepts any number of connections and does the same with each stream; where it is.
    pub fn accept(&self, far: Far) -> Result<SocketAddr> {
        let _within = self.far.enter();
        let endpoint = self.ends.server(Manner::Ordered)?;
        let at = endpoint.local_addr()?;
        self.far.spawn(async move {
            while let Some(attempt) = endpoint.accept().await {
                let far = far.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(attempt, &far).await {
                        eprintln!("xtask: the far end of a bare line: {error:#}");
                    }
                });
            }
        });
        Ok(at)
    }

    /// Connects to an end that accepts.
    pub fn connect(&self, to: SocketAddr, manner: Manner) -> Result<Line<'_>> {
        let connected = self.near.block_on(async { limited(connect(&self.ends, to, manner)).await });
        let (endpoint, connection) = connected.with_context(|| format!("cannot connect to {to}"))?;
        Ok(Line { bare: self, connection, _endpoint: endpoint })
    }

    /// The time in which so many pieces arrive over so many connections that are opened within it: each takes the next piece when
    /// fewer than [`AHEAD`] of its own are under way, so that all end at the same time. The far end is one that counts.
    pub fn share(&self, to: SocketAddr, connections: usize, pieces: usize) -> Result<Duration> {
        let (start, left) = (Instant::now(), Arc::new(AtomicUsize::new(pieces)));
        self.near.block_on(async {
            let mut lanes = JoinSet::new();
            for _ in 0..connections {
                let (ends, left) = (Arc::clone(&self.ends), Arc::clone(&left));
                lanes.spawn(async move {
                    let (_endpoint, connection) = connect(&ends, to, Manner::Lane).await?;
                    take_part(&connection, &left).await?;
                    connection.close(VarInt::from_u32(0), b"");
                    anyhow::Ok(())
                });
            }
            limited(async { lanes.join_all().await.into_iter().collect::<Result<Vec<()>>>() }).await
        })?;
        Ok(start.elapsed())
    }
}

impl Line<'_> {
    /// The time until a far end that does not answer questions has taken in so many bytes, written a piece at a time.
    pub fn send(&self, piece: &[u8], bytes: usize) -> Result<Duration> {
        let start = Instant::now();
        self.bare.near.block_on(async { limited(send(&self.connection, piece, bytes)).await })?;
        Ok(start.elapsed())
    }

    /// How long each of several questions of so many bytes took to be answered, one after the other: as soon as they can, or at so
    /// many bytes per second. `answer`: bytes of each answer.
    pub fn ask(&self, sizes: Vec<usize>, answer: usize, pace: Option<f64>) -> Result<Vec<Duration>> {
        let asked = self.bare.near.spawn(ask(self.connection.clone(), sizes, answer, pace));
        self.bare.near.block_on(async { limited(async { asked.await? }).await })
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.connection.close(VarInt::from_u32(0), b"");
    }
}

async fn limited<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work).await.with_context(|| format!("it takes longer than {PATIENCE:?}"))?
}

async fn connect(ends: &Ends, to: SocketAddr, manner: Manner) -> Result<(Endpoint, Connection)> {
    let endpoint = ends.client(manner)?;
    let connection = endpoint.connect(to, NAME)?.await?;
    Ok((endpoint, connection))
}

/// Until the far end has said that it has everything.
async fn send(connection: &Connection, piece: &[u8], bytes: usize) -> Result<()> {
    let (mut writer, mut reader) = connection.open_bi().await?;
    let mut left = bytes;
    while left > 0 {
        let next = &piece[..left.min(piece.len())];
        writer.write_all(next).await?;
        left -= next.len();
    }
    writer.finish()?;
    reader.read_exact(&mut [0]).await.context("the far end did not take all")?;
    Ok(())
}

/// Sends pieces as long as any are left.
async fn take_part(connection: &Connection, left: &AtomicUsize) -> Result<()> {
    let (mut writer, mut reader) = connection.open_bi().await?;
    let (piece, mut under_way) = (vec![0x5a; SHARED], 0);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        if under_way == AHEAD {
            reader.read_exact(&mut [0]).await?;
            under_way -= 1;
        }
        writer.write_all(&piece).await?;
        under_way += 1;
    }
    writer.finish()?;
    reader.read_exact(&mut vec![0; under_way]).await.context("the far end did not take all")?;
    Ok(())
}

async fn ask(connection: Connection, sizes: Vec<usize>, answer: usize, pace: Option<f64>) -> Result<Vec<Duration>> {
    let (mut writer, mut reader) = connection.open_bi().await?;
    let mut question = vec![0x5a; 4 + sizes.iter().max().copied().unwrap_or_default()];
    let mut answer = vec![0; answer];
    let (start, mut before, mut took) = (Instant::now(), 0, Vec::with_capacity(sizes.len()));
    for size in sizes {
        if let Some(pace) = pace {
            tokio::time::sleep_until((start + super::pace::due(before, pace)).into()).await;
        }
        before += size;
        question[..4].copy_from_slice(&u32::try_from(size)?.to_le_bytes());
        let asked = Instant::now();
        writer.write_all(&question[..4 + size]).await?;
        reader.read_exact(&mut answer).await?;
        took.push(asked.elapsed());
    }
    writer.finish()?;
    Ok(took)
}

async fn serve(attempt: quinn::Incoming, far: &Far) -> Result<()> {
    let connection = attempt.await?;
    loop {
        let (writer, reader) = match connection.accept_bi().await {
            Ok(streams) => streams,
            Err(quinn::ConnectionError::ApplicationClosed(_)) => return Ok(()),
            Err(error) => bail!(error),
        };
        let done = match far {
            Far::Discards => take(writer, reader, None).await,
            Far::Keeps(path) => take(writer, reader, Some(path)).await,
            Far::Answers(bytes) => answer(writer, reader, *bytes).await,
            Far::Counts => count(writer, reader).await,
        };
        if done.is_err() && matches!(connection.close_reason(), Some(quinn::ConnectionError::ApplicationClosed(_))) {
            // The near end has all that it wanted, and does not wait until this one has seen that.
            return Ok(());
        }
        done?;
    }
}

async fn take(mut writer: SendStream, mut reader: RecvStream, into: Option<&Path>) -> Result<()> {
    let mut file = into.map(|path| File::create_new(path).with_context(|| path.display().to_string())).transpose()?;
    let mut buffer = vec![0; PIECE];
    while let Some(read) = reader.read(&mut buffer).await? {
        if let Some(file) = &mut file {
            file.write_all(&buffer[..read])?;
        }
    }
    writer.write_all(&[1]).await?;
    Ok(writer.finish()?)
}

async fn count(mut writer: SendStream, mut reader: RecvStream) -> Result<()> {
    let (mut buffer, mut read) = (vec![0; PIECE], 0);
    while let Some(more) = reader.read(&mut buffer).await? {
        let pieces = (read + more) / SHARED - read / SHARED;
        read += more;
        writer.write_all(&vec![1; pieces]).await?;
    }
    Ok(writer.finish()?)
}

async fn answer(mut writer: SendStream, mut reader: RecvStream, bytes: usize) -> Result<()> {
    let (mut length, mut question, answer) = ([0; 4], Vec::new(), vec![0; bytes]);
    loop {
        match reader.read_exact(&mut length).await {
            Ok(()) => {}
            Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(writer.finish()?),
            Err(error) => bail!(error),
        }
        question.resize(usize::try_from(u32::from_le_bytes(length))?, 0);
        reader.read_exact(&mut question).await?;
        writer.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_kept_and_what_is_asked_is_answered() {
        let dir = tempfile::tempdir().unwrap();
        let bare = Bare::new().unwrap();
        let kept = dir.path().join("kept");
        let line = bare.connect(bare.accept(Far::Keeps(kept.clone())).unwrap(), Manner::Ordered).unwrap();
        line.send(&[7; 1000], 2500).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), [7; 2500]);
        let line = bare.connect(bare.accept(Far::Answers(32)).unwrap(), Manner::Ordered).unwrap();
        assert_eq!(line.ask(vec![0, 4096, 100_000], 32, None).unwrap().len(), 3);
        assert_eq!(line.ask(vec![1], 32, Some(1e6)).unwrap().len(), 1);
        bare.share(bare.accept(Far::Counts).unwrap(), 4, 11).unwrap();
        bare.share(bare.accept(Far::Counts).unwrap(), 4, 1).unwrap();
    }
}
