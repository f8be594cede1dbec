//! `replfs peers`: who is known to this node, what for, and how that ends. What is written down and what it means is `scm::peers`'s; here
//! are the commands and what they tell running daemons.

mod show;

pub use show::{number, when};

use crate::args::peers::{PeersArgs, PeersCommand};
use crate::args::target_name::TargetPlace;
use crate::control::Request;
use crate::control::client::{Client, sockets};
use crate::exit::{Code, Failure};
use crate::out;
use crate::state::Places;
use scm::peers::{Peer, Peers, PeersError, Store};
use std::sync::Arc;

/// Runs the command.
pub fn run(args: &PeersArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state())?;
    let store = Store::new(places.state());
    match &args.command {
        None => show::list(&store, args.json),
        Some(PeersCommand::List { json }) => show::list(&store, args.json || *json),
        Some(PeersCommand::Show { name, json }) => show::one(&store, name, args.json || *json),
        Some(PeersCommand::Rename { name, new }) => rename(&places, &store, name, new),
        Some(PeersCommand::Address { name, address }) => move_to(&places, &store, name, address),
        Some(PeersCommand::Revoke { name }) => revoke(&places, &store, name),
    }
}

/// The nodes that are known; nothing is made.
pub fn known(places: &Places) -> Result<Arc<Peers>, Failure> {
    Store::new(places.state()).get().map_err(failure)
}

/// Where they are written down.
pub fn store(places: &Places) -> Result<Store, Failure> {
    places.make_state()?;
    Ok(Store::new(places.state()))
}

/// What cannot be read or written.
#[allow(clippy::needless_pass_by_value)] // for map_err
pub fn failure(error: PeersError) -> Failure {
    let code = match error {
        PeersError::Exposed { .. } => Code::Key,
        PeersError::Io { .. } | PeersError::Bad { .. } => Code::State,
    };
    Failure::new(code, error.to_string())
}

/// There is nobody of that name.
fn nobody(name: &str) -> Failure {
    Failure::new(Code::NoPeer, format!("no peer is called '{name}'; 'replfs peers' lists those that are known"))
}

/// Tells all daemons of this node that who is known, or its key, has changed. How many there are.
pub fn tell_daemons(places: &Places) -> usize {
    let all = sockets(places.source_sockets()).into_iter().chain(sockets(&places.target_sockets()));
    let told = |path: std::path::PathBuf| {
        let mut client = Client::connect(&path)?;
        match client.ask(Request::PeersChanged) {
            Ok(_) => Some(()),
            Err(failure) => {
                eprintln!("replfs: a daemon was not told: {failure}");
                None
            }
        }
    };
    all.filter_map(told).count()
}

fn rename(places: &Places, store: &Store, name: &str, new: &str) -> Result<(), Failure> {
    let done = store.change(|peers| {
        if peers.named(name).is_none() {
            return Err(nobody(name));
        }
        if peers.free_name(new) != new {
            let text =
                format!("'{new}' cannot be its name: somebody has it, or it is none (letters, digits, '-', '_', '.')");
            return Err(Failure::usage(text));
        }
        for peer in peers.peers.iter_mut().filter(|peer| peer.name == name) {
            new.clone_into(&mut peer.name);
        }
        Ok(())
    });
    done.map_err(failure)??;
    tell_daemons(places);
    Ok(())
}

fn move_to(places: &Places, store: &Store, name: &str, address: &str) -> Result<(), Failure> {
    let TargetPlace::Remote { .. } = TargetPlace::parse(address)? else {
        return Err(Failure::usage(format!("'{address}' is not HOST or HOST:PORT")));
    };
    let address = TargetPlace::parse(address)?.to_string();
    let done = store.change(|peers| {
        let peer = peers.peers.iter_mut().find(|peer| peer.name == name).ok_or_else(|| nobody(name))?;
        if peer.places.is_empty() {
            return Err(Failure::usage(format!("'{name}' is no target of this node, so nothing is sent to it")));
        }
        for place in &mut peer.places {
            place.address.clone_from(&address);
        }
        Ok(())
    });
    done.map_err(failure)??;
    tell_daemons(places);
    Ok(())
}

fn revoke(places: &Places, store: &Store, name: &str) -> Result<(), Failure> {
    if let Some(number) = name.strip_prefix('#') {
        return withdraw(store, number);
    }
    let gone = store.change(|peers| {
        let at = peers.peers.iter().position(|peer| peer.name == name)?;
        Some(peers.peers.remove(at))
    });
    let gone: Peer = gone.map_err(failure)?.ok_or_else(|| nobody(name))?;
    let told = tell_daemons(places);
    out::line(&format!("{name} ({}) is not known any more; daemons told: {told}", gone.key))?;
    for grant in &gone.grants {
        out::line(&format!("  its replica stays: {}/{}", grant.root, grant.dir))?;
    }
    for place in &gone.places {
        out::line(&format!("  nothing is sent any more to {} ({})", place.address, place.dir))?;
    }
    Ok(())
}

fn withdraw(store: &Store, number: &str) -> Result<(), Failure> {
    let gone = store.change(|peers: &mut Peers| {
        let before = peers.invitations.len();
        peers.invitations.retain(|open| show::number(open.number) != format!("#{number}"));
        peers.invitations.len() < before
    });
    if gone.map_err(failure)? {
        return Ok(());
    }
    Err(Failure::new(Code::NoPeer, format!("no invitation #{number} is open; 'replfs peers' lists those that are")))
}
