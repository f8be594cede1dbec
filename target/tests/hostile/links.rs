//! Symbolic links that lead out, and then a path through them; hard links to what is outside.

use crate::common::*;
use crate::scene::{Scene, VICTIMS, ensure, every_operation, whatever};
use protocol::{Content, NodeKind, Op};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

/// Puts a link under a name, and a plain file next to it.
async fn plant(source: &mut Source, lure: &str, to: &[u8]) {
    whatever(source, true, Op::Remove { path: path(lure), parent_mtime: D }, b"").await;
    whatever(source, true, make(40, lure, NodeKind::Symlink(to.to_vec()), 0o777), b"").await;
    whatever(source, true, ensure(41, "other", NodeKind::File, Content::Whole, 5), b"plain").await;
}

// claim: A209
#[tokio::test]
async fn no_operation_goes_through_a_link_that_the_source_has_planted() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    let outside = scene.outside().as_os_str().as_bytes().to_vec();
    let mut tried = 0;
    for lead in [&outside[..], b"../../outside", b"."] {
        for victim in VICTIMS.iter().chain(&["new"]) {
            for (op, payload) in every_operation(&format!("lure/{victim}"), "other") {
                for tolerant in [false, true] {
                    plant(&mut source, "lure", lead).await;
                    whatever(&mut source, tolerant, op.clone(), &payload).await;
                    tried += 1;
                }
            }
        }
        scene.holds("a path through a link").await;
    }
    assert!(tried > 1000, "{tried}");
    source.hang_up().await;
}

#[tokio::test]
async fn an_operation_on_a_link_is_one_on_the_link() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    for victim in VICTIMS.iter().chain(&["new"]) {
        let lead = scene.outside().join(victim);
        for (op, payload) in every_operation("lure", "other") {
            for tolerant in [false, true] {
                plant(&mut source, "lure", lead.as_os_str().as_bytes()).await;
                whatever(&mut source, tolerant, op.clone(), &payload).await;
                // A link to the link is not one to where it leads.
                whatever(&mut source, true, Op::Remove { path: path("linked"), parent_mtime: D }, b"").await;
            }
        }
        scene.holds(victim).await;
    }
    source.hang_up().await;
}

/// The places of a replica beside its tree. They are `0700`: this takes somebody with the target's own rights.
#[tokio::test]
async fn a_place_of_replfs_that_a_link_leads_to_is_none() {
    for place in ["orphan", "aside", "stage", "image", "undo"] {
        let mut scene = Scene::new().await;
        scene.rig.target.keep_images(true);
        scene.attacker().await.bye().await;
        let at = scene.rig.meta().join(place);
        let _there_or_not = fs::remove_dir_all(&at);
        symlink(scene.outside(), &at).unwrap();
        match greet(&scene.rig.target, PEER, hello(2)).await.0 {
            protocol::Message::Refused(why) => {
                assert!(why.text.contains("cannot open the replica"), "{place}: {}", why.text);
            }
            protocol::Message::HelloAck(_) => {
                assert!(["image", "undo"].contains(&place), "{place} is opened");
                let mut source = Source::let_in(&scene.rig.target, hello(3)).await;
                source.ok(Op::Mark(protocol::Mark::Incoherent)).await;
                source.ok(create(1, "made")).await;
                source.ok(unlink(1, "made")).await;
                source.ok(Op::Mark(protocol::Mark::Coherent)).await;
                source.hang_up().await;
            }
            other => panic!("{other:?}"),
        }
        scene.holds(place).await;
    }
}

#[tokio::test]
async fn while_a_session_goes_on_its_places_are_those_that_it_opened() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    source.ok(create(1, "file")).await;
    for place in ["orphan", "aside", "stage"] {
        fs::rename(scene.rig.meta().join(place), scene.rig.meta().join(format!("{place}.was"))).unwrap();
        symlink(scene.outside(), scene.rig.meta().join(place)).unwrap();
    }
    let gone = Op::Unlink { path: path("file"), gone: gone(1, true), directory: false, parent_mtime: D };
    source.ok(gone).await;
    assert!(scene.rig.meta().join("orphan.was/1").exists());
    source.ok(mkdir(2, "dir")).await;
    source.ok(Op::SetAside { path: path("dir"), parent_mtime: D }).await;
    let mut lane = Lane::open(&scene.rig.target, 0).await;
    lane.make(STAGE).await;
    lane.data(STAGE, 0, b"staged").await;
    source.ok(Op::Reap { node: protocol::NodeId::new(1) }).await;
    source.ok(Op::Mark(protocol::Mark::Coherent)).await;
    scene.holds("places that were replaced").await;
    source.hang_up().await;
}

/// What the target does then: a file has one content under all its names, and who may make such a name may say what is in the file.
/// docs/security-cage.md says so.
#[tokio::test]
async fn a_file_that_somebody_linked_into_the_replica_is_the_replicas() {
    let mut scene = Scene::new().await;
    let mut source = scene.attacker().await;
    let shared = scene.rig.dir.path().join("shared");
    fs::write(&shared, "somebody's").unwrap();
    fs::hard_link(&shared, scene.rig.at("in")).unwrap();
    source.ok_with(write(at(1, "in"), 0), b"SOME").await;
    assert_eq!(fs::read(&shared).unwrap(), b"SOMEbody's");
    // A comparison sees one name too many, and asks for a new node: from then on they are two files.
    let Op::Ensure(mut wanted) = ensure(1, "in", NodeKind::File, Content::Whole, 3) else { unreachable!() };
    wanted.fresh = true;
    source.ok_with(Op::Ensure(wanted), b"own").await;
    assert_eq!(fs::read(&shared).unwrap(), b"SOMEbody's");
    assert_eq!(fs::read(scene.rig.at("in")).unwrap(), b"own");
    assert_eq!(fs::metadata(&shared).unwrap().nlink(), 1);
    scene.holds("a hard link from outside").await;
    source.hang_up().await;
}
