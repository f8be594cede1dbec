//! What is noted, when it is durable, and when it is forgotten; what a power cut makes of it is tested on real disks (`tests/tests/powercut.rs`).
#![allow(clippy::unwrap_used)]

use super::file::read;
use super::*;
use platform::tree::Tree;
use protocol::{Name, ReplicaId, SeqNo};
use std::fs::{self, File};
use std::os::fd::AsFd;

struct Rig {
    dir: tempfile::TempDir,
    tree: Tree,
    hot: Hot,
}

fn checkpoint(seq: u64) -> Checkpoint {
    let replica = ReplicaId::from_bytes([9; 16]);
    Checkpoint { incarnation: Incarnation::from_bytes([1; 16]), seq: SeqNo::new(seq), secs: 1000, replica }
}

impl Rig {
    /// A tree with the directory `dir` in it, before any checkpoint.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src/dir")).unwrap();
        let tree = Tree::new(File::open(dir.path().join("src")).unwrap().as_fd()).unwrap();
        let hot = Hot::default();
        let rig = Self { dir, tree, hot };
        assert_eq!(rig.hot.open(&rig.file(), |_| true).unwrap(), None);
        rig
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("hot")
    }

    fn checkpoint(&self, seq: u64) {
        let epoch = self.hot.begin_epoch();
        self.hot.complete(checkpoint(seq), epoch).unwrap();
    }

    fn node(&self, path: &str) -> Arc<Node> {
        let names = self.tree.names().read();
        path.split('/').fold(Arc::clone(self.tree.root()), |dir, name| {
            self.tree.lookup(&names, &dir, &Name::new(name.as_bytes()).unwrap(), 0).unwrap().0
        })
    }

    fn make(&self, path: &str) -> Arc<Node> {
        fs::write(self.dir.path().join("src").join(path), "x").unwrap();
        self.node(path)
    }

    fn heat(&self, node: &Arc<Node>, kind: Kind) {
        self.hot.heat(&self.tree.names().read(), node, kind, || false);
    }

    fn noted(&self) -> Vec<Entry> {
        read(&self.file()).unwrap().1
    }
}

#[test]
fn what_is_about_to_change_is_on_disk_once_between_two_checkpoints() {
    let rig = Rig::new();
    let (one, two, dir) = (rig.make("dir/one"), rig.make("dir/two"), rig.node("dir"));
    rig.heat(&one, Kind::Content);
    assert!(!rig.file().exists() && rig.hot.len() == 0, "without a checkpoint everything is hot");
    rig.checkpoint(5);
    assert_eq!(read(&rig.file()), Some((checkpoint(5), Vec::new())));
    for _ in 0..2 {
        rig.heat(&one, Kind::Content);
        rig.heat(&dir, Kind::Names);
    }
    assert_eq!(rig.noted(), [Entry::Hot(Kind::Content, one.ino()), Entry::Hot(Kind::Names, dir.ino())]);
    rig.hot.born(&two);
    rig.heat(&two, Kind::Content);
    assert_eq!(rig.noted().len(), 2, "its change time tells");
    // What is changed while a checkpoint is taken is hot after it too.
    let epoch = rig.hot.begin_epoch();
    rig.heat(&one, Kind::Content);
    rig.hot.run(Incarnation::from_bytes([2; 16]));
    rig.hot.complete(checkpoint(9), epoch).unwrap();
    assert_eq!(rig.noted(), [Entry::Hot(Kind::Content, one.ino()), Entry::Run(Incarnation::from_bytes([2; 16]))]);
    rig.heat(&two, Kind::Content);
    assert_eq!(rig.noted().last(), Some(&Entry::Hot(Kind::Content, two.ino())), "it is old by now");
    let set = rig.hot.set();
    assert!(set.has(&dir, &one) && set.has(&dir, &two) && !set.has_directory(&dir));
}

#[test]
fn many_changes_below_a_directory_are_one() {
    let rig = Rig::new();
    fs::create_dir(rig.dir.path().join("src/dir/deep")).unwrap();
    rig.checkpoint(5);
    let nodes: Vec<_> = (0..600).map(|n| rig.make(&format!("dir/deep/{n}"))).collect();
    for node in &nodes {
        rig.heat(node, Kind::Content);
    }
    let (dir, deep) = (rig.node("dir"), rig.node("dir/deep"));
    let noted = rig.noted();
    assert_eq!(noted.len(), WIDEN as usize);
    assert_eq!(noted.last(), Some(&Entry::Hot(Kind::Below, deep.ino())));
    let set = rig.hot.set();
    assert!(set.has(&deep, &nodes[599]) && set.has_directory(&deep) && !set.has_directory(&dir));
    // A directory that is moved may leave it, with files in it that are only noted by it.
    fs::create_dir(rig.dir.path().join("src/dir/deep/leaves")).unwrap();
    let leaves = rig.node("dir/deep/leaves");
    rig.heat(&leaves, Kind::Below);
    assert_eq!(rig.noted().last(), Some(&Entry::Hot(Kind::Below, leaves.ino())));
    // Another name of it may lie elsewhere.
    rig.hot.heat(&rig.tree.names().read(), &rig.make("dir/deep/linked"), Kind::Content, || true);
    assert_eq!(rig.noted().len(), WIDEN as usize + 2);
}

#[test]
fn what_an_earlier_daemon_noted_goes_on_or_is_removed() {
    let rig = Rig::new();
    let one = rig.make("dir/one");
    rig.checkpoint(5);
    rig.heat(&one, Kind::Content);
    rig.hot.run(Incarnation::from_bytes([2; 16]));
    rig.hot.flush();
    let later = Hot::default();
    assert_eq!(later.open(&rig.file(), |_| true).unwrap(), Some(checkpoint(5)));
    assert_eq!((later.len(), later.runs()), (1, vec![Incarnation::from_bytes([2; 16])]));
    let of_another = Hot::default();
    assert_eq!(of_another.open(&rig.file(), |_| false).unwrap(), None);
    assert!(!rig.file().exists());
}

#[test]
fn forgotten_is_forgotten_on_disk_and_in_memory() {
    let rig = Rig::new();
    let one = rig.make("dir/one");
    rig.checkpoint(5);
    rig.heat(&one, Kind::Content);
    let epoch = rig.hot.begin_epoch();
    rig.hot.forget("a test");
    assert!(!rig.file().exists() && rig.hot.len() == 0 && rig.hot.checkpoint().is_none());
    // A checkpoint that was under way does not bring it back.
    rig.hot.complete(checkpoint(6), epoch).unwrap();
    assert!(!rig.file().exists());
    rig.checkpoint(7);
    rig.heat(&one, Kind::Content);
    assert_eq!(rig.noted(), [Entry::Hot(Kind::Content, one.ino())]);
}

#[test]
fn where_nothing_can_be_noted_everything_is_hot() {
    let rig = Rig::new();
    let (one, two) = (rig.make("dir/one"), rig.make("dir/two"));
    rig.checkpoint(5);
    rig.hot.state.lock().file = Some(Arc::new(HotFile::of(File::open("/dev/full").unwrap())));
    rig.heat(&one, Kind::Content);
    assert!(!rig.file().exists() && rig.hot.checkpoint().is_none());
    rig.heat(&two, Kind::Content);
}
