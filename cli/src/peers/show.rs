//! What `replfs peers` prints: for people, and as JSON.

use super::{failure, nobody};
use crate::exit::Failure;
use crate::out;
use crate::status::units::bytes;
use scm::peers::{MOST_TRIES, Open, Peer, Peers, Store, now};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Version of the JSON documents; goes up when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// All of them.
pub fn list(store: &Store, as_json: bool) -> Result<(), Failure> {
    let mut peers = Peers::clone(&*store.get().map_err(failure)?);
    peers.expire(now());
    if as_json {
        let document = json!({
            "version": VERSION,
            "peers": peers.peers.iter().map(json_of).collect::<Vec<_>>(),
            "invitations": peers.invitations.iter().map(json_of_open).collect::<Vec<_>>(),
        });
        return out::line(&document.to_string());
    }
    if peers.peers.is_empty() && peers.invitations.is_empty() {
        return out::line("no peers; 'replfs target invite' on a target begins");
    }
    let width = peers.peers.iter().map(|peer| peer.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for peer in &peers.peers {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:width$}  {}  {}", peer.name, peer.key, what_for(peer).join("; "));
    }
    for open in &peers.invitations {
        let _ = writeln!(
            text,
            "{}  invitation for {}/{}, {} left, wrong tries {} of {MOST_TRIES}",
            number(open.number),
            open.grant.root,
            open.grant.dir,
            minutes(open.expires.saturating_sub(now())),
            open.tries
        );
    }
    out::text(&text)
}

/// One of them.
pub fn one(store: &Store, name: &str, as_json: bool) -> Result<(), Failure> {
    let peers = store.get().map_err(failure)?;
    let peer = peers.named(name).ok_or_else(|| nobody(name))?;
    if as_json {
        let mut document = json_of(peer);
        document["version"] = VERSION.into();
        return out::line(&document.to_string());
    }
    let mut text = format!("{}\n  key {}\n", peer.name, peer.key);
    if let Some(next) = peer.next {
        let _ = writeln!(text, "  announced as its next key {next}");
    }
    for former in &peer.former {
        let _ = writeln!(text, "  key before {former}");
    }
    let _ = writeln!(text, "  knows this node by {}", peer.ours);
    let _ = writeln!(text, "  paired {}", when(peer.paired));
    for line in what_for(peer) {
        let _ = writeln!(text, "  {line}");
    }
    out::text(&text)
}

fn what_for(peer: &Peer) -> Vec<String> {
    let grants = peer.grants.iter().map(|grant| {
        let quota = grant.quota.map_or_else(String::new, |quota| format!(" (up to {})", bytes(quota)));
        let over = if grant.take_over { ", whoever's it was" } else { "" };
        format!("source of {}/{}{quota}{over}", grant.root, grant.dir)
    });
    let places = peer.places.iter().map(|place| {
        let of = place.src.as_deref().map_or_else(String::new, |src| format!(" of {src}"));
        format!("target at {}, directory {}{of}", place.address, place.dir)
    });
    grants.chain(places).collect()
}

fn json_of(peer: &Peer) -> Value {
    json!({
        "name": peer.name,
        "key": peer.key,
        "next_key": peer.next,
        "former_keys": peer.former,
        "knows_us_by": peer.ours,
        "paired_at": peer.paired,
        "grants": peer.grants,
        "targets": peer.places.iter().map(|place| json!({
            "address": place.address, "dir": place.dir, "src": place.src,
        })).collect::<Vec<_>>(),
    })
}

/// The secret is not known here any more.
fn json_of_open(open: &Open) -> Value {
    json!({
        "number": number(open.number),
        "grant": open.grant,
        "name": open.name,
        "expires_at": open.expires,
        "wrong_tries": open.tries,
    })
}

/// An invitation as people name it.
pub fn number(number: u64) -> String {
    format!("#{:08x}", number >> 32)
}

/// A time as people read it, in UTC.
pub fn when(secs: u64) -> String {
    let utc = platform::sys::utc(secs);
    match utc.as_bytes() {
        [y1, y2, y3, y4, m1, m2, d1, d2, _, h1, h2, n1, n2, ..] => {
            let text = [*y1, *y2, *y3, *y4, b'-', *m1, *m2, b'-', *d1, *d2, b' ', *h1, *h2, b':', *n1, *n2];
            format!("{} UTC", String::from_utf8_lossy(&text))
        }
        _ => utc,
    }
}

fn minutes(secs: u64) -> String {
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        _ => format!("{} h", secs / 3600),
    }
}
