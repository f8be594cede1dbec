//! How QUIC is set up: by the measurements in docs/decisions/ and the facts they start from.

use quinn::{ConfigError, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// A peer that is not heard of for so long is gone.
const IDLE: VarInt = VarInt::from_u32(3_000);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Where there are several paths: one that fails is to be noticed while nothing is sent, too.
const KEEP_ALIVE_PATHS: Duration = Duration::from_millis(250);

/// Above this a packet train with segmentation offload passes 64 KiB and the connection stalls.
const LARGEST_MTU: u16 = 6_500;

/// What may be under way on one stream; a connection has one.
const WINDOW: u32 = 4 << 20;
/// What may be under way on one connection of a lane.
const LANE_WINDOW: u32 = 16 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The ordered stream: what is under way is what a lost connection sends again.
    Session,
    /// A lane: as much as the line holds.
    Lane,
    /// The accepting end does not know yet. The window of the stream bounds a session there.
    Accept,
}

/// For an endpoint: what it takes. Without that a peer is told that nothing larger than Ethernet's usual frames may come, whatever the path carries.
pub fn endpoint() -> Result<EndpointConfig, ConfigError> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(LARGEST_MTU)?;
    Ok(config)
}

/// For a connection over one path.
pub fn config(purpose: Use) -> Arc<TransportConfig> {
    Arc::new(with_keep_alive(purpose, KEEP_ALIVE))
}

/// The same for a connection that may move from one path to another.
pub(crate) fn config_of_several(purpose: Use) -> Arc<TransportConfig> {
    Arc::new(with_keep_alive(purpose, KEEP_ALIVE_PATHS))
}

fn with_keep_alive(purpose: Use, keep_alive: Duration) -> TransportConfig {
    let window = if purpose == Use::Session { WINDOW } else { LANE_WINDOW };
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(LARGEST_MTU);
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(IDLE)))
        .keep_alive_interval(Some(keep_alive))
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(window))
        .send_window(u64::from(window));
    config
}
