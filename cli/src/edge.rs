//! What commands and daemons parse of what the other says, as functions for those who try any bytes at all (`tests/fuzzed`). Nothing else uses
//! them, and no parser lives here.

use crate::cage::Confined;
use crate::control::server::answer;
use crate::control::{Control, Response, Status, TargetDaemon, Unfinished};
use crate::status;
use std::time::Duration;
use target::TargetStatus;

/// A daemon that does nothing.
struct Idle;

impl Control for Idle {
    fn status(&self) -> Status {
        let status = TargetStatus { version: 1, root: String::new(), software: String::new(), sources: Vec::new() };
        let (listen, fingerprint, confined) = (String::new(), String::new(), Confined::default());
        Status::Target(TargetDaemon { pid: 0, listen, fingerprint, confined, status })
    }

    fn bypass(&self, _: bool) -> Result<(), Unfinished> {
        Ok(())
    }

    fn sync(&self, _: Duration) -> Result<(), Unfinished> {
        Ok(())
    }

    fn drain(&self, _: Duration) -> Result<(), Unfinished> {
        Ok(())
    }
}

/// What a daemon answers to this line, as it goes over the control socket.
pub fn request(line: &[u8]) -> Result<String, String> {
    serde_json::to_string(&answer(line, &Idle)).map_err(|e| e.to_string())
}

/// What `replfs status` shows of this answer of a daemon: for people, and as JSON.
pub fn status(line: &str) -> (String, Result<String, String>) {
    let (words, json) = status::shown(line);
    (words, json.map_err(|e| e.to_string()))
}

/// Any answer of a daemon, read by a command and written again.
pub fn response(line: &str) -> Result<String, String> {
    let response: Response = serde_json::from_str(line).map_err(|e| e.to_string())?;
    serde_json::to_string(&response).map_err(|e| e.to_string())
}
