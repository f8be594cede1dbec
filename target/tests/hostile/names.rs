//! NAMEs that are replfs's own, too long, or something else on the target.

use crate::common::*;
use crate::scene::Scene;
use protocol::{Hello, Message, RefusalCode};
use std::fs;
use std::os::unix::fs::symlink;

async fn wants(scene: &Scene, text: &str) -> Result<Source, protocol::Refused> {
    let hello = Hello { name: name(text), adopt: true, ..hello(1) };
    match greet(&scene.rig.target, PEER, hello.clone()).await {
        (Message::Refused(why), ..) => Err(why),
        (Message::HelloAck(_), reader, writer, served) => {
            drop((reader, writer));
            tokio::time::timeout(TIMEOUT, served).await.expect("it ends").unwrap().unwrap();
            Ok(Source::let_in(&scene.rig.target, hello).await)
        }
        (other, ..) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_is_replfss_own_or_no_directory_is_refused() {
    let mut scene = Scene::new().await;
    let root = scene.rig.dir.path().join("root");
    symlink(scene.outside(), root.join("linked")).unwrap();
    symlink("witness", root.join("alias")).unwrap();
    fs::write(root.join("file"), "x").unwrap();
    let before = snapshot(&root.join(".replfs"));
    // `lock` and `root` are files in ROOT/.replfs.
    for (text, code) in [
        (".replfs", RefusalCode::Other),
        (".replfs.old", RefusalCode::Other),
        ("linked", RefusalCode::NotEmpty),
        ("alias", RefusalCode::NotEmpty),
        ("file", RefusalCode::NotEmpty),
        ("lock", RefusalCode::Other),
        ("root", RefusalCode::Other),
    ] {
        let why = wants(&scene, text).await.map(|_| ()).unwrap_err();
        assert_eq!(why.code, code, "{text}: {}", why.text);
        assert!(!why.text.is_empty());
    }
    assert_eq!(snapshot(&root.join(".replfs")), before, "nothing was made");
    scene.holds("names").await;
}

#[tokio::test]
async fn the_longest_name_and_an_odd_one_are_as_good_as_others() {
    let mut scene = Scene::new().await;
    for text in ["n".repeat(255), "\u{1b}[2J\n\"; rm -rf ~".to_owned()] {
        let mut source = wants(&scene, &text).await.map_err(|why| why.text).unwrap();
        source.ok(create(1, "file")).await;
        assert!(scene.rig.dir.path().join("root").join(&text).join("file").exists());
        source.hang_up().await;
    }
    scene.holds("long names").await;
}

#[tokio::test]
async fn a_replica_that_becomes_a_link_is_not_the_replica_any_more() {
    let mut scene = Scene::new().await;
    scene.attacker().await.bye().await;
    fs::rename(scene.rig.tree(), scene.rig.dir.path().join("was")).unwrap();
    symlink(scene.outside(), scene.rig.tree()).unwrap();
    assert_eq!(refusal_code(&scene.rig.target, PEER, hello(2)).await, RefusalCode::Changed);
    scene.holds("a replica that is a link").await;
}
