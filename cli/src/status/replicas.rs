//! The status of a target daemon for people: a block for the daemon, and one for each replica.

use super::units::{bytes, kinds, line};
use crate::control::TargetDaemon;
use std::fmt::Write as _;
use target::ReplicaStatus;

/// A target daemon with its replicas.
pub fn target(out: &mut String, target: &TargetDaemon) {
    line!(out, "target   {} listening on {} (process {})", target.status.root, target.listen, target.pid);
    line!(out, "  key      {}", target.fingerprint);
    line!(out, "  confined: {}", target.confined.text());
    for replica in &target.status.sources {
        replica_of(out, &target.status.root, replica);
    }
    if target.status.sources.is_empty() {
        line!(out, "  no replica yet");
    }
}

fn replica_of(out: &mut String, root: &str, replica: &ReplicaStatus) {
    let connected = if replica.connected { "connected" } else { "not connected" };
    let coherent = if replica.coherent { "coherent" } else { "incoherent" };
    line!(out, "  replica  {}: {connected}, {coherent}; of {}", replica.name, replica.owner);
    line!(
        out,
        "    applied {}, durable {}; {} received in {} sessions{}",
        replica.applied,
        replica.durable,
        bytes(replica.bytes_received),
        replica.sessions,
        kinds(&replica.operations)
    );
    if replica.lanes > 0 {
        line!(out, "    lanes: {} open", replica.lanes);
    }
    if replica.aside_entries > 0 {
        line!(out, "    set aside: {} in {root}/.replfs/{}/aside", replica.aside_entries, replica.name);
    }
    if let Some(image) = &replica.image {
        let at = format!("{root}/.replfs/{}/image/{}", replica.name, image.name());
        line!(out, "    image: all up to {}, taken {}, in {at}", image.number, image.taken);
    }
    if let Some(undo) = &replica.undo {
        let (number, taken) = (undo.number, &undo.taken);
        line!(
            out,
            "    undo log: back to all up to {number}, taken {taken} (replfs roll-back {root} {})",
            replica.name
        );
    }
    if replica.owners_not_set > 0 {
        line!(out, "    owners neither set nor kept, not being root: {}", replica.owners_not_set);
    }
    if let Some(quota) = &replica.quota {
        let of = |limit: Option<String>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        let (size, files) = (of(quota.limit_bytes.map(bytes)), of(quota.limit_files.map(|n| n.to_string())));
        let counting = if quota.counting { ", being counted" } else { "" };
        line!(out, "    quota: {} used{size}, {} files{files}{counting}", bytes(quota.used_bytes), quota.used_files);
    }
    if replica.kept.any() {
        let target::KeptStatus { owners, permissions, devices, attributes } = replica.kept;
        line!(
            out,
            "    kept and not in force: owners {owners}, permissions {permissions}, devices {devices}, attributes {attributes}"
        );
    }
    if let Some(blocked) = &replica.blocked {
        line!(out, "    blocked: {}, {}", blocked.path, blocked.reason);
    }
    if let Some(error) = &replica.last_error {
        line!(out, "    last error: {error}");
    }
}
