//! Telling systemd how far this service is: `sd_notify(3)`. Without `NOTIFY_SOCKET` nothing happens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

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
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}
