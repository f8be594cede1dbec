//! The node table against a real directory.
#![allow(clippy::unwrap_used)]

use super::*;
use protocol::At;
use std::fs;
use std::path::Path;

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

fn tree(dir: &Path) -> Tree {
    Tree::new(fs::File::open(dir).unwrap().as_fd()).unwrap()
}

fn path_of(tree: &Tree, node: &Node) -> String {
    node.path(&tree.names().read()).unwrap().to_string()
}

#[test]
fn a_renamed_directory_moves_the_paths_of_what_is_below() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/c"), "x").unwrap();
    let tree = tree(dir.path());
    let mut names = tree.names().write();
    let (a, _) = tree.lookup(&names, tree.root(), &name("a"), 1).unwrap();
    let (b, _) = tree.lookup(&names, &a, &name("b"), 1).unwrap();
    let (c, _) = tree.lookup(&names, &b, &name("c"), 1).unwrap();
    a.move_link(&mut names, (tree.root(), &name("a")), (tree.root(), &name("z")));
    drop(names);
    assert_eq!(path_of(&tree, &c), "z/b/c");
    let above: Vec<_> = c.ancestors(&tree.names().read()).iter().map(|n| n.ino()).collect();
    assert_eq!(above, [b.ino(), a.ino(), tree.root().ino()]);
}

#[test]
fn a_forgotten_node_takes_with_it_the_parents_that_were_kept_for_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    let tree = tree(dir.path());
    let names = tree.names().read();
    let (a, _) = tree.lookup(&names, tree.root(), &name("a"), 1).unwrap();
    let (b, _) = tree.lookup(&names, &a, &name("b"), 1).unwrap();
    let (a_ino, b_ino) = (a.ino(), b.ino());
    drop((a, b));
    tree.forget(a_ino, 1);
    assert_eq!(tree.known(), 3, "b still needs a for its path");
    tree.forget(b_ino, 1);
    assert_eq!(tree.known(), 1, "only the root is left");
}

#[test]
fn an_inode_number_that_is_used_again_is_another_node() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    let file = dir.path().join("f");
    fs::write(&file, "1").unwrap();
    let (first, stat) = tree.lookup(&tree.names().read(), tree.root(), &name("f"), 1).unwrap();
    for _ in 0..100 {
        fs::remove_file(&file).unwrap();
        fs::write(&file, "2").unwrap();
        let (second, again) = tree.lookup(&tree.names().read(), tree.root(), &name("f"), 1).unwrap();
        if again.st_ino == stat.st_ino {
            assert_ne!(first.id(), second.id());
            assert_ne!(first.generation(), second.generation());
            return;
        }
        tree.settle(second);
    }
    // A file system that never uses a number again cannot show this.
}

#[test]
fn a_node_without_a_name_is_an_orphan_or_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "1").unwrap();
    let tree = tree(dir.path());
    let mut names = tree.names().write();
    let (f, _) = tree.lookup(&names, tree.root(), &name("f"), 1).unwrap();
    assert!(f.remove_link(&mut names, tree.root(), &name("f")));
    assert_eq!(f.place(&names), None);
    f.set_orphan(true);
    assert_eq!(f.place(&names).unwrap().at, At::Orphan);
}

#[test]
fn a_size_is_what_was_told_of_whatever_a_lookup_sees() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "12345").unwrap();
    let tree = tree(dir.path());
    let names = tree.names().read();
    let (f, _) = tree.lookup(&names, tree.root(), &name("f"), 1).unwrap();
    assert_eq!(f.size(), 5);
    // As between a truncation and its record: whoever looks the file up then holds no lock of it.
    fs::write(&file, "1").unwrap();
    let (same, stat) = tree.lookup(&names, tree.root(), &name("f"), 1).unwrap();
    assert_eq!((same.id(), stat.st_size), (f.id(), 1));
    assert_eq!(f.size(), 5, "only the operation says so");
    f.set_size(1);
    assert_eq!(same.size(), 1);
}
