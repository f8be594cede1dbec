//! Telling systemd how far this service is: `sd_notify(3)`. Without `NOTIFY_SOCKET` nothing happens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;

static SOCKET: OnceLock<Option<io::Result<UnixDatagram>>> = OnceLock::new();

/// Connects now: a process that is caged cannot do so later.
pub fn prepare() {
    SOCKET.get_or_init(connect);
}

/// The service does what it is for.
pub fn ready() {
    send(&format!("READY=1\nMAINPID={}", std::process::id()));
}

/// The service is ending.
pub fn stopping() {
    send("STOPPING=1");
}

fn send(message: &str) {
    if let Err(error) = try_send(message) {
        tracing::warn!(event = "notify-failed", %error, "systemd could not be told: {message}");
    }
}

fn try_send(message: &str) -> io::Result<()> {
    match SOCKET.get_or_init(connect) {
        Some(Ok(socket)) => socket.send(message.as_bytes()).map(drop),
        Some(Err(e)) => Err(io::Error::new(e.kind(), e.to_string())),
        None => Ok(()),
    }
}

fn connect() -> Option<io::Result<UnixDatagram>> {
    let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
    let connected = || {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(socket)
    };
    Some(connected())
}
