//! Single-server: the target is a directory of this machine, served within this process by the same sessions as over a
//! network (C2).

use scm::ScmError;
use scm::session::{Dial, Streams};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use target::{Peer, Reading, Target};

/// Bytes under way in each direction.
const PIPE_BYTES: usize = 1 << 20;

/// Who answers.
#[derive(Clone)]
enum Server {
    Target(Arc<Target>),
    Reading(Arc<Reading>),
}

/// Connects to a target in this process.
pub struct LocalDialer {
    server: Server,
    /// This node: the owner of the replica.
    peer: Peer,
}

impl LocalDialer {
    /// A dialer to `target` for the node `peer`.
    pub fn new(target: Arc<Target>, peer: Peer) -> Self {
        Self { server: Server::Target(target), peer }
    }

    /// A dialer for reading only, whoever has the target.
    pub fn reading(reading: Arc<Reading>, peer: Peer) -> Self {
        Self { server: Server::Reading(reading), peer }
    }
}

impl Dial for LocalDialer {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<Streams, ScmError>> + Send + '_>> {
        let (by, peer) = (self.server.clone(), self.peer.clone());
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let (reader, writer) = tokio::io::split(theirs);
            let served = tokio::spawn(async move {
                let outcome = match by {
                    Server::Target(target) => target.serve(peer, reader, writer).await,
                    Server::Reading(reading) => reading.serve(peer, reader, writer).await,
                };
                if let Err(error) = outcome {
                    tracing::warn!(event = "session-failed", "{error}");
                }
            });
            let (reader, writer) = tokio::io::split(ours);
            Ok(Streams {
                reader: Box::new(reader),
                writer: Box::new(writer),
                why_closed: Box::new(|| None),
                welcomed: Box::new(|| ()),
                goodput: Box::new(|| None),
                held: Box::new(served),
            })
        })
    }
}
