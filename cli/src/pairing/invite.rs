//! `replfs target invite`.

use super::{host_name, is_dir_name};
use crate::args::peers::InviteArgs;
use crate::args::target_name::TargetPlace;
use crate::control::client::{Client, sockets};
use crate::control::{Request, Response, Status, TargetDaemon};
use crate::exit::{Code, Failure};
use crate::paths::absolute;
use crate::state::Places;
use crate::status::units::bytes;
use crate::{keys, out, peers};
use scm::invite::Invitation;
use scm::peers::{Grant, now};
use serde_json::json;
use std::net::SocketAddr;

/// Invitations that may be open at once: each keeps the door ajar.
const MOST: usize = 64;

/// Runs the command.
pub fn run(args: &InviteArgs) -> Result<(), Failure> {
    let places = Places::find(&args.state)?;
    if !is_dir_name(&args.dir) {
        let text = format!(
            "--dir '{}': not a name; give 1 to 255 bytes of UTF-8 without '/', not beginning with '.replfs'",
            args.dir
        );
        return Err(Failure::usage(text));
    }
    let daemon = daemon(&places, args)?;
    let root = match (&args.root, &daemon) {
        (Some(root), _) => absolute(root).to_string_lossy().into_owned(),
        (None, Some(daemon)) => daemon.status.root.clone(),
        (None, None) => {
            return Err(Failure::usage(
                "no target daemon runs here that could be meant; start it, or name its --root ROOT",
            ));
        }
    };
    let target = keys::load(&places)?.fingerprint();
    let address = address(args, daemon.as_ref())?;
    let fail = |e: std::io::Error| Failure::io(Code::System, "cannot make a secret", &e);
    let number = u64::from_le_bytes(platform::random::bytes().map_err(fail)?);
    let invitation = Invitation { address, target, number, secret: platform::random::bytes().map_err(fail)? };
    let grant = Grant { root, dir: args.dir.clone(), quota: args.quota, take_over: args.take_over };
    let expires = now().saturating_add(args.ttl.as_secs());
    let opened = peers::store(&places)?.change(|peers| {
        peers.expire(now());
        if peers.invitations.len() >= MOST {
            return Err(Failure::usage(format!(
                "{MOST} invitations are open already; withdraw some ('replfs peers revoke #...')"
            )));
        }
        if let Some(name) = args.name.as_deref().filter(|name| peers.free_name(name) != **name) {
            return Err(Failure::usage(format!(
                "--name '{name}': another peer has it, or it is none (letters, digits, '-', '_', '.')"
            )));
        }
        let owner = peers.owner(&grant.root, &grant.dir).map(|owner| owner.name.clone());
        peers.invite(number, &invitation.secret, grant.clone(), args.name.clone(), expires);
        Ok(owner)
    });
    let owner = opened.map_err(peers::failure)??;
    tell(args, &invitation, &grant, expires, owner.as_deref(), daemon.is_some())
}

/// The daemon of ROOT, or the only one there is.
fn daemon(places: &Places, args: &InviteArgs) -> Result<Option<TargetDaemon>, Failure> {
    let mut found = Vec::new();
    let wanted = args.root.as_deref().map(absolute);
    for path in sockets(&places.target_sockets()) {
        let Some(mut client) = Client::connect(&path) else { continue };
        if let Response::Status { status } = client.ask(Request::Status)?
            && let Status::Target(daemon) = *status
            && wanted.as_ref().is_none_or(|root| root.to_string_lossy() == daemon.status.root)
        {
            found.push(daemon);
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            Err(Failure::usage("more than one target daemon runs here; name the --root ROOT of the one that is meant"))
        }
    }
}

/// Where the source finds the target.
fn address(args: &InviteArgs, daemon: Option<&TargetDaemon>) -> Result<String, Failure> {
    if let Some(given) = &args.address {
        let TargetPlace::Remote { .. } = TargetPlace::parse(given)? else {
            return Err(Failure::usage(format!("--address '{given}' is not HOST or HOST:PORT")));
        };
        return Ok(TargetPlace::parse(given)?.to_string());
    }
    let listens: Option<SocketAddr> = daemon.and_then(|daemon| daemon.listen.parse().ok());
    Ok(match listens {
        Some(listens) if !listens.ip().is_unspecified() => listens.to_string(),
        Some(listens) => format!("{}:{}", host_name(), listens.port()),
        None => TargetPlace::parse(&host_name())?.to_string(),
    })
}

/// The invitation alone goes to standard output, what is to be said about it beside it.
fn tell(
    args: &InviteArgs,
    invitation: &Invitation,
    grant: &Grant,
    expires: u64,
    owner: Option<&str>,
    runs: bool,
) -> Result<(), Failure> {
    let shown = peers::number(invitation.number);
    if args.json {
        return out::line(
            &json!({
                "version": 1,
                "invitation": invitation.to_string(),
                "number": shown,
                "address": invitation.address,
                "fingerprint": invitation.target,
                "grant": grant,
                "expires_at": expires,
            })
            .to_string(),
        );
    }
    let quota = grant.quota.map_or_else(String::new, |quota| format!(", up to {}", bytes(quota)));
    eprintln!("invitation {shown} to {} ({})", invitation.address, invitation.target);
    eprintln!("  for {}/{}{quota}; good once, until {}", grant.root, grant.dir, peers::when(expires));
    eprintln!("  on the source: mount.replfs SRC MNT --target INVITE   (or: replfs pair INVITE)");
    if let Some(owner) = owner {
        eprintln!("  the directory is {owner}'s: only that node can use it, unless it is revoked first");
    }
    if !runs {
        eprintln!("  no target daemon runs for that ROOT now; it has to when the invitation is used");
    }
    warn_of_loopback(&invitation.address);
    out::line(&invitation.to_string())
}

fn warn_of_loopback(address: &str) {
    if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()) {
        eprintln!("  {address} is this machine only; for another one give --address HOST:PORT");
    }
}
