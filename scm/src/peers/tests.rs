//! Pairing, rotation and revocation as they change what is written down.
#![allow(clippy::unwrap_used)]

use super::*;
use std::os::unix::fs::PermissionsExt;

const SECRET: [u8; 16] = [3; 16];
const ROOT: &str = "/srv/replicas";

fn key(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

fn grant(dir: &str) -> Grant {
    Grant { root: ROOT.to_owned(), dir: dir.to_owned(), quota: None, take_over: false }
}

fn invited(dir: &str) -> Peers {
    let mut peers = Peers::default();
    peers.invite(7, &SECRET, grant(dir), None, 100);
    peers
}

fn pair(peers: &mut Peers, who: u8, secret: [u8; 16], now: u64) -> Result<Grant, NotPaired> {
    peers.pair(ROOT, 7, &secret, (key(who), "web 1\n"), key(200), now)
}

#[test]
fn an_invitation_is_good_once() {
    let mut peers = invited("mail1");
    assert_eq!(pair(&mut peers, 1, SECRET, 50), Ok(grant("mail1")));
    assert_eq!(peers.by_key(key(1)).unwrap().name, "web1", "what cannot be shown is left out of a name");
    assert_eq!(pair(&mut peers, 1, SECRET, 50), Err(NotPaired::NotOpen));
    assert_eq!(pair(&mut peers, 2, SECRET, 50), Err(NotPaired::NotOpen));
    assert_eq!(peers.owner(ROOT, "mail1").unwrap().key, key(1));
}

#[test]
fn an_invitation_dies_with_its_time() {
    let mut peers = invited("mail1");
    assert_eq!(pair(&mut peers, 1, SECRET, 100), Err(NotPaired::NotOpen));
    assert!(peers.invitations.is_empty() && peers.peers.is_empty());
}

#[test]
fn five_wrong_secrets_withdraw_it() {
    let mut peers = invited("mail1");
    for _ in 1..MOST_TRIES {
        assert_eq!(pair(&mut peers, 1, [4; 16], 50), Err(NotPaired::Secret));
    }
    assert_eq!(pair(&mut peers, 1, [4; 16], 50), Err(NotPaired::Withdrawn));
    assert_eq!(pair(&mut peers, 1, SECRET, 50), Err(NotPaired::NotOpen));
    assert!(peers.peers.is_empty());
}

#[test]
fn an_invitation_to_another_root_is_none_here() {
    let mut peers = invited("mail1");
    assert_eq!(peers.pair("/other", 7, &SECRET, (key(1), "w"), key(200), 50), Err(NotPaired::NotOpen));
    assert_eq!(peers.invitations[0].tries, 0);
}

#[test]
fn a_directory_is_given_to_one_node() {
    let mut peers = invited("mail1");
    peers.invite(8, &SECRET, grant("mail1"), None, 100);
    pair(&mut peers, 1, SECRET, 50).unwrap();
    assert_eq!(peers.pair(ROOT, 8, &SECRET, (key(2), "w"), key(200), 50), Err(NotPaired::Taken));
}

#[test]
fn one_node_with_two_directories_is_one_peer() {
    let mut peers = invited("mail1");
    peers.invite(8, &SECRET, grant("www"), Some("called".into()), 100);
    pair(&mut peers, 1, SECRET, 50).unwrap();
    peers.pair(ROOT, 8, &SECRET, (key(1), "w"), key(200), 50).unwrap();
    assert_eq!(peers.peers.len(), 1);
    assert_eq!(peers.peers[0].grants, [grant("mail1"), grant("www")]);
}

#[test]
fn names_are_given_once() {
    let mut peers = Peers::default();
    for (n, name) in [(1, "web"), (2, "web-2"), (3, "web-3")] {
        peers.invite(7, &SECRET, grant(name), None, 100);
        peers.pair(ROOT, 7, &SECRET, (key(n), "--web"), key(200), 50).unwrap();
        assert!(peers.named(name).is_some());
    }
    assert_eq!(peers.free_name("\u{202e}/"), "peer");
}

#[test]
fn an_announced_key_takes_the_place_of_the_old_one_when_it_is_shown() {
    let mut peers = invited("mail1");
    pair(&mut peers, 1, SECRET, 50).unwrap();
    assert!(peers.met(key(1), Some(key(2)), Some(key(200))));
    assert!(!peers.met(key(1), Some(key(2)), Some(key(200))), "the second time it is nothing new");
    assert!(peers.by_key(key(1)).is_some() && peers.by_key(key(2)).is_some());
    assert!(peers.met(key(2), None, None));
    assert!(peers.by_key(key(1)).is_none(), "the old one is good for nothing then");
    assert_eq!(peers.by_key(key(2)).unwrap().former, [key(1)]);
    assert!(!peers.met(key(1), Some(key(9)), None), "nor can it announce another");
}

#[test]
fn nobody_becomes_somebody_else_by_announcing_his_key() {
    let mut peers = invited("mail1");
    pair(&mut peers, 1, SECRET, 50).unwrap();
    peers.invite(7, &SECRET, grant("www"), None, 100);
    pair(&mut peers, 2, SECRET, 50).unwrap();
    assert!(!peers.met(key(1), Some(key(2)), None));
    assert_eq!(peers.by_key(key(2)).unwrap().grants, [grant("www")]);
}

#[test]
fn what_is_written_is_read_by_others_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Store::new(dir.path()), Store::new(dir.path()));
    assert_eq!(*one.get().unwrap(), Peers::default());
    one.change(|peers| *peers = invited("mail1")).unwrap();
    assert_eq!(*other.get().unwrap(), invited("mail1"));
    other.change(|peers| pair(peers, 1, SECRET, 50)).unwrap().unwrap();
    assert!(one.get().unwrap().by_key(key(1)).is_some());
    assert_eq!(std::fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(one.path()).unwrap().contains("AwMDAwMD"), "no secret is written down");
}

#[test]
fn a_file_that_others_can_write_or_that_does_not_parse_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    store.change(|peers| *peers = invited("mail1")).unwrap();
    std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(store.get(), Err(PeersError::Exposed { mode: 0o620, .. })));
    std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["", "{}", "{\"version\":2,\"peers\":[]}", "{\"version\":1,\"peers\":[{}]}"] {
        std::fs::write(store.path(), text).unwrap();
        assert!(matches!(store.get(), Err(PeersError::Bad { .. })), "{text}");
        assert!(store.change(|_| ()).is_err(), "nothing is written over it");
    }
}

#[test]
fn many_who_change_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..8_u8 {
            let store = Store::new(dir.path());
            scope.spawn(move || {
                for i in 0..4_u8 {
                    store
                        .change(|peers| peers.invite(u64::from(n) << 8 | u64::from(i), &SECRET, grant("d"), None, 9))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(Store::new(dir.path()).get().unwrap().invitations.len(), 32);
}
