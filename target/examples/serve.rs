//! Serves one ROOT on a Unix socket, without keys: for tests that kill it. Arguments: ROOT, the socket's path.

use replfs_target::{Target, TargetConfig};
use std::error::Error;
use std::path::PathBuf;
use tokio::net::UnixListener;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(root), Some(socket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve ROOT SOCKET".into());
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let target = Target::open(TargetConfig { root, software: "test".to_owned() })?;
        let listener = UnixListener::bind(socket)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let (reader, writer) = stream.into_split();
            let target = target.clone();
            tokio::spawn(async move { target.serve("SHA256:source", reader, writer).await });
        }
    })
}
