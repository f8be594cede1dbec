//! The network paths of a mount for people: one line for each.

use super::units::{bytes, line, millis};
use srm::status::{PathState, PathStatus, TargetStatus};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The paths to a target, if it has any.
pub(super) fn paths_of(out: &mut String, target: &TargetStatus) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    for path in &target.paths {
        line!(
            out,
            "  path     {} to {}: {}, {} sent",
            path.local,
            path.target,
            stand(path, now),
            bytes(path.sent_bytes)
        );
    }
}

fn stand(path: &PathStatus, now: u64) -> String {
    let for_how_long = millis(now.saturating_sub(path.since_ms));
    match path.state {
        PathState::Untried => "not tried yet".to_owned(),
        PathState::Dead => {
            let reason = path.reason.as_deref().unwrap_or("it does not answer");
            format!("dead for {for_how_long} ({reason}; tried again by itself)")
        }
        PathState::Alive => {
            let session = if path.session { ", session" } else { "" };
            let lanes = if path.lanes > 0 { format!(", {} lanes", path.lanes) } else { String::new() };
            format!("alive for {for_how_long}{session}{lanes}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_alive_with_what_is_on_it_or_dead_with_the_reason() {
        let path = PathStatus {
            local: "eth1".to_owned(),
            target: "backup:7420".to_owned(),
            state: PathState::Alive,
            since_ms: 1000,
            reason: None,
            session: true,
            lanes: 2,
            sent_bytes: 0,
        };
        assert_eq!(stand(&path, 4000), "alive for 3.0 s, session, 2 lanes");
        let dead = PathStatus { state: PathState::Dead, reason: Some("no answer".to_owned()), ..path };
        assert_eq!(stand(&dead, 63_000), "dead for 0:01:02 (no answer; tried again by itself)");
    }
}
