//! This node's keys and the fingerprints of others, with errors in the command line's terms; `replfs key`.

use crate::args::peers::{KeyArgs, KeyCommand};
use crate::exit::{Code, Failure};
use crate::out;
use crate::peers;
use crate::state::Places;
use scm::key::{Fingerprint, KeyError};
use scm::keyring::{self, Keyring};

/// The keys of this node; the first is made on first use.
pub fn load(places: &Places) -> Result<Keyring, Failure> {
    places.make_state()?;
    Keyring::load(&places.keys()).map_err(|error| failure(&error))
}

fn failure(error: &KeyError) -> Failure {
    let code = match error {
        KeyError::Io { .. } => Code::State,
        KeyError::Exposed { .. } | KeyError::Bad { .. } => Code::Key,
    };
    Failure::new(code, error.to_string())
}

/// This node as a target within this process knows it.
pub fn local_peer(keyring: &Keyring) -> target::Peer {
    let former = keyring.former().iter().map(ToString::to_string).collect();
    target::Peer { key: keyring.fingerprint().to_string(), former, dirs: None }
}

/// A fingerprint that an option gives.
pub fn fingerprint(option: &str, text: &str) -> Result<Fingerprint, Failure> {
    text.parse().map_err(|error| Failure::usage(format!("{option}: {error}")))
}

/// `replfs key`.
pub fn run(args: &KeyArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state())?;
    match &args.command {
        None => print(&places, args.json),
        Some(KeyCommand::Rotate { force }) => rotate(&places, *force),
    }
}

fn print(places: &Places, as_json: bool) -> Result<(), Failure> {
    let keyring = load(places)?;
    if as_json {
        let document = serde_json::json!({
            "version": 1,
            "fingerprint": keyring.fingerprint(),
            "previous": keyring.previous(),
            "path": places.keys().current().to_string_lossy(),
        });
        return out::line(&document.to_string());
    }
    out::line(&keyring.fingerprint().to_string())
}

fn rotate(places: &Places, force: bool) -> Result<(), Failure> {
    let keyring = load(places)?;
    let now = keyring.fingerprint();
    let behind: Vec<String> = {
        let peers = peers::known(places)?;
        peers.peers.iter().filter(|peer| peer.ours != now).map(|peer| peer.name.clone()).collect()
    };
    if keyring.previous().is_some() && !behind.is_empty() && !force {
        let text = format!(
            "{} would have to be paired again: the present key is not known there yet ('replfs peers show'); connect first, or give --force",
            behind.join(", ")
        );
        return Err(Failure::new(Code::Key, text));
    }
    let new = keyring::rotate(&places.keys()).map_err(|error| failure(&error))?;
    let told = peers::tell_daemons(places);
    out::line(&new.to_string())?;
    let peers = peers::known(places)?.peers.len();
    eprintln!(
        "replfs: {peers} peers learn it when they are connected; daemons told: {told}; where this node is known by --allow or --target-key, the new fingerprint has to be given there"
    );
    Ok(())
}
