//! This node's key and the fingerprints of others, with errors in the command line's terms; `replfs key`.

use crate::args::KeyArgs;
use crate::exit::{Code, Failure};
use crate::out;
use crate::state::Places;
use scm::key::{Fingerprint, KeyError, NodeKey};

/// The key of this node, made on first use.
pub fn load(places: &Places) -> Result<NodeKey, Failure> {
    places.make_state()?;
    NodeKey::load_or_create(&places.key()).map_err(|error| {
        let code = match error {
            KeyError::Io { .. } => Code::State,
            KeyError::Exposed { .. } | KeyError::Bad { .. } => Code::Key,
        };
        Failure::new(code, error.to_string())
    })
}

/// A fingerprint that an option gives.
pub fn fingerprint(option: &str, text: &str) -> Result<Fingerprint, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{option}: {error}")))
}

/// `replfs key`.
pub fn print(args: &KeyArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    let fingerprint = load(&places)?.fingerprint();
    if args.json {
        let document = serde_json::json!({
            "version": 1,
            "fingerprint": fingerprint.to_string(),
            "path": places.key().to_string_lossy(),
        });
        return out::line(&document.to_string());
    }
    out::line(&fingerprint.to_string())
}
