//! How fast a bare quinn stream is here: what is still to be sent when an application ends may take as long as one.

use crate::bench::quic::{Ends, Manner, NAME};
use anyhow::{Context, Result};
use quinn::{Endpoint, VarInt};
use std::time::{Duration, Instant};

/// What is sent.
const BYTES: usize = 256 << 20;

/// In pieces of so many.
const PIECE: usize = 64 << 10;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes per second of one stream with quinn's defaults, both ends on this machine. Errors: the socket's, or it takes too long.
pub fn rate() -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, measured()).await })?
}

async fn measured() -> Result<f64> {
    let ends = Ends::new()?;
    let server = ends.server(Manner::Plain)?;
    let at = server.local_addr()?;
    let received = tokio::spawn(receive(server));
    let connection = ends.client(Manner::Plain)?.connect(at, NAME)?.await?;
    let mut stream = connection.open_uni().await?;
    let piece = vec![0x5a; PIECE];
    let start = Instant::now();
    for _ in 0..BYTES / PIECE {
        stream.write_all(&piece).await?;
    }
    stream.finish()?;
    received.await??;
    #[allow(clippy::cast_precision_loss)] // a rate
    let rate = BYTES as f64 / start.elapsed().as_secs_f64();
    connection.close(VarInt::from_u32(0), b"");
    Ok(rate)
}

async fn receive(server: Endpoint) -> Result<()> {
    let connection = server.accept().await.context("nobody connects")?.await?;
    let mut stream = connection.accept_uni().await?;
    let mut buffer = vec![0; PIECE];
    while stream.read(&mut buffer).await?.is_some() {}
    Ok(())
}
