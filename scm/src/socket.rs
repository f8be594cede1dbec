//! UDP sockets with room for what arrives while this side is busy. The kernel drops what does not fit, and QUIC sends it again: with the kernel's usual 208 KiB
//! that happens whenever a machine of two cores is busy for some milliseconds.

use rustix::net::sockopt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Room for datagrams that arrive, and for those that leave, in bytes. It is taken only as far as it is used.
const ROOM_BYTES: usize = 4 << 20;

/// Takes an address (port 0: any free one).
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    widen(&socket);
    Ok(socket)
}

/// Who may not have more than others (`net.core.rmem_max`, `net.core.wmem_max`) has that.
fn widen(socket: &UdpSocket) {
    let arriving = sockopt::set_socket_recv_buffer_size_force(socket, ROOM_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, ROOM_BYTES));
    let leaving = sockopt::set_socket_send_buffer_size_force(socket, ROOM_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, ROOM_BYTES));
    if let Err(error) = arriving.and(leaving) {
        tracing::debug!(%error, "a socket keeps the kernel's usual room");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn there_is_more_room_than_usual() {
        let usual = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let room = |socket: &UdpSocket| sockopt::socket_recv_buffer_size(socket).unwrap();
        assert!(room(&ours) > room(&usual), "{} and {}", room(&ours), room(&usual));
    }
}
