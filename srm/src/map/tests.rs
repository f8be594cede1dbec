//! What the map remembers and how the target's names come back, in small cases; the simulator (`cargo xtask sim`) tries the rest.
#![allow(clippy::unwrap_used)]

use super::*;
use protocol::RelPath;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A node with the names that are known of it.
#[derive(Clone, Debug)]
struct Node(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    links: RefCell<Vec<(Node, Name)>>,
}

impl Handle for Node {
    fn id(&self) -> u64 {
        self.0.id
    }

    fn ino(&self) -> u64 {
        self.0.id
    }

    fn is_root(&self) -> bool {
        self.0.id == 1
    }

    fn links(&self) -> Vec<(Self, Name)> {
        self.0.links.borrow().clone()
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// A tree, and what is remembered of its changes; the target's tree as paths.
struct Bench {
    root: Node,
    held: Held<Node>,
    next: Cell<u64>,
}

impl Bench {
    fn new(limit: usize) -> Self {
        Self { root: node(1), held: Held::new(limit), next: Cell::new(2) }
    }

    /// A node that was there before.
    fn there(&self, dir: &Node, text: &str) -> Node {
        let made = node(self.next.replace(self.next.get() + 1));
        add(&made, dir, text);
        made
    }

    /// A node that is made now.
    fn make(&mut self, dir: &Node, text: &str) -> Node {
        let made = self.there(dir, text);
        self.held.named(dir, &name(text), &made).unwrap();
        made
    }

    fn rename(&mut self, node: &Node, from: (&Node, &str), to: (&Node, &str)) {
        remove(node, from.0, from.1);
        add(node, to.0, to.1);
        self.held.moved(node, (from.0, &name(from.1)), (to.0, &name(to.1))).unwrap();
    }

    fn exchange(&mut self, one: &Node, from: (&Node, &str), two: &Node, to: (&Node, &str)) {
        remove(one, from.0, from.1);
        remove(two, to.0, to.1);
        add(one, to.0, to.1);
        add(two, from.0, from.1);
        self.held.exchanged(one, (from.0, &name(from.1)), two, (to.0, &name(to.1))).unwrap();
    }

    fn delete(&mut self, node: &Node, dir: &Node, text: &str, directory: bool) {
        remove(node, dir, text);
        let last = node.links().is_empty();
        self.held.unnamed(dir, &name(text), node, last, directory).unwrap();
    }

    /// The steps in words, and the rest.
    fn reshape(self) -> (Vec<String>, Rest<Node>) {
        let (steps, rest) = self.held.reshape().unwrap();
        (steps.iter().map(words).collect(), rest)
    }
}

fn node(id: u64) -> Node {
    Node(Rc::new(Inner { id, links: RefCell::default() }))
}

fn add(node: &Node, dir: &Node, text: &str) {
    node.0.links.borrow_mut().push((dir.clone(), name(text)));
}

fn remove(node: &Node, dir: &Node, text: &str) {
    node.0.links.borrow_mut().retain(|(d, n)| !(d.id() == dir.id() && *n == name(text)));
}

fn path(node: &Node) -> RelPath {
    node.links().first().map_or_else(RelPath::root, |(dir, name)| path(dir).join(name).unwrap())
}

fn words(step: &Step<Node>) -> String {
    match step {
        Step::Make(dir) => format!("make {}", path(dir)),
        Step::Move { from, to: Some((dir, name)), .. } => format!("move {from} {}", path(dir).join(name).unwrap()),
        Step::Move { node, from, to: None, .. } => format!("move {from} aside as {}", node.id()),
        Step::Aside { path, .. } => format!("aside {path}"),
        Step::Remove { path, .. } => format!("remove {path}"),
    }
}

/// Names that are left to look at, and what the target has there.
fn left(rest: &Rest<Node>) -> BTreeMap<String, There> {
    rest.names.iter().map(|(dir, name, there)| (path(dir).join(name).unwrap().to_string(), *there)).collect()
}

#[test]
fn there_and_back_is_nothing() {
    let mut bench = Bench::new(100);
    let (root, dir) = (bench.root.clone(), bench.there(&bench.root, "d"));
    let file = bench.there(&dir, "f");
    bench.rename(&file, (&dir, "f"), (&root, "g"));
    bench.rename(&file, (&root, "g"), (&dir, "f"));
    let (steps, rest) = bench.reshape();
    assert!(steps.is_empty(), "{steps:?}");
    assert_eq!(left(&rest), BTreeMap::from([("g".to_owned(), There::Nothing)]));
}

#[test]
fn two_that_changed_places_go_by_way_of_a_name_of_their_own() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let (a, b) = (bench.there(&root, "a"), bench.there(&root, "b"));
    bench.exchange(&a, (&root, "a"), &b, (&root, "b"));
    let (steps, rest) = bench.reshape();
    assert_eq!(steps, ["move b aside as 3", "move a b", "move .replfs-moving-3 a"]);
    assert!(rest.names.is_empty());
}

#[test]
fn three_directories_in_a_circle_need_one_step_more_than_they_are() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let [a, b, c] = ["a", "b", "c"].map(|text| bench.there(&root, text));
    bench.rename(&a, (&root, "a"), (&root, "t"));
    bench.rename(&b, (&root, "b"), (&root, "a"));
    bench.rename(&c, (&root, "c"), (&root, "b"));
    bench.rename(&a, (&root, "t"), (&root, "c"));
    let (steps, rest) = bench.reshape();
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert_eq!(left(&rest), BTreeMap::from([("t".to_owned(), There::Nothing)]));
}

#[test]
fn a_parent_that_became_the_child_of_its_child_comes_after_it() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let a = bench.there(&root, "a");
    let b = bench.there(&a, "b");
    bench.rename(&b, (&a, "b"), (&root, "b"));
    bench.rename(&a, (&root, "a"), (&b, "a"));
    let (steps, _) = bench.reshape();
    assert_eq!(steps, ["move a/b b", "move a b/a"]);
}

#[test]
fn what_was_moved_out_of_a_deleted_directory_is_not_sent_again() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let dir = bench.there(&root, "d");
    let (kept, gone) = (bench.there(&dir, "kept"), bench.there(&dir, "gone"));
    bench.rename(&kept, (&dir, "kept"), (&root, "kept"));
    bench.delete(&gone, &dir, "gone", false);
    bench.delete(&dir, &root, "d", true);
    let (steps, rest) = bench.reshape();
    assert_eq!(steps, ["move d/kept kept", "remove d/gone", "remove d"]);
    assert!(left(&rest).values().all(|there| *there == There::Nothing), "{:?}", rest.names);
}

#[test]
fn what_is_made_over_something_deleted_is_looked_at_with_it() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let old = bench.there(&root, "f");
    bench.delete(&old, &root, "f", false);
    bench.make(&root, "f");
    let (steps, rest) = bench.reshape();
    assert!(steps.is_empty());
    assert_eq!(left(&rest), BTreeMap::from([("f".to_owned(), There::Deleted { directory: false })]));
}

#[test]
fn a_directory_that_was_made_is_made_first_for_what_moved_into_it_and_those_below_it_too() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let file = bench.there(&root, "f");
    let outer = bench.make(&root, "outer");
    let inner = bench.make(&outer, "inner");
    bench.rename(&file, (&root, "f"), (&inner, "f"));
    let (steps, _) = bench.reshape();
    assert_eq!(steps, ["make outer", "make outer/inner", "move f outer/inner/f"]);
}

#[test]
fn a_file_that_moves_to_where_another_name_of_it_was_finds_nothing_there() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let file = bench.there(&root, "a");
    add(&file, &root, "b");
    bench.delete(&file, &root, "b", false);
    bench.rename(&file, (&root, "a"), (&root, "b"));
    let (steps, rest) = bench.reshape();
    assert_eq!(steps, ["remove b", "move a b"]);
    assert_eq!(left(&rest), BTreeMap::from([("a".to_owned(), There::Nothing)]));
}

#[test]
fn a_file_that_got_a_link_stays_known_and_is_linked() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let file = bench.there(&root, "a");
    add(&file, &root, "b");
    bench.held.linked(&root, &name("b"), &file, 2).unwrap();
    let (steps, rest) = bench.reshape();
    assert!(steps.is_empty());
    assert_eq!(rest.linked.iter().map(Handle::id).collect::<Vec<_>>(), [file.id()]);
    let mut pass = Pass::new(1, Scope::Some(std::collections::HashMap::new()));
    pass.add_name(&root, &name("b"), Hint::Nothing);
    pass.keep(rest.linked);
    assert!(pass.is_right(&file) && !pass.is_right_at(&root, &name("b"), file.ino()));
    assert_eq!(pass.right_link(&file).unwrap().1, name("a"));
}

#[test]
fn a_change_of_a_file_without_a_known_name_cannot_be_remembered() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let file = bench.there(&root, "a");
    remove(&file, &root, "a");
    // Another name is left, which nobody has looked up.
    bench.held.unnamed(&root, &name("a"), &file, false, false).unwrap();
    assert_eq!(bench.held.touched(&file, Touch::Data(0..1)), Err(Lost::Nameless));
}

#[test]
fn a_file_of_which_no_clean_name_is_known_gets_no_further_one() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    // By descriptor: its other name is not known, or there is none.
    let (old, new) = (bench.there(&root, "a"), bench.there(&root, "b"));
    assert_eq!(bench.held.linked(&root, &name("a"), &old, 2), Err(Lost::Nameless));
    assert_eq!(bench.held.linked(&root, &name("b"), &new, 1), Ok(()));
}

#[test]
fn the_bound_is_kept_and_what_is_new_needs_no_note_but_its_name() {
    let mut bench = Bench::new(4);
    let root = bench.root.clone();
    let dir = bench.make(&root, "d");
    for number in 0..100 {
        let file = bench.make(&dir, &number.to_string());
        bench.held.touched(&file, Touch::Data(0..1)).unwrap();
    }
    // The name, and the root's time.
    assert_eq!(bench.held.entries(), 2);
    let full = (0..5).map(|number| {
        let file = bench.there(&root, &format!("f{number}"));
        bench.held.touched(&file, Touch::Attributes)
    });
    assert_eq!(full.last(), Some(Err(Lost::Full)));
}

#[test]
fn what_moves_out_of_a_deleted_directory_leaves_the_time_of_the_one_in_its_place() {
    let mut bench = Bench::new(100);
    let root = bench.root.clone();
    let old = bench.there(&root, "d");
    let file = bench.there(&old, "f");
    bench.rename(&file, (&old, "f"), (&root, "t"));
    bench.delete(&old, &root, "d", true);
    let new = bench.make(&root, "d");
    bench.rename(&file, (&root, "t"), (&new, "f"));
    let (steps, _) = bench.held.reshape().unwrap();
    let left = steps.iter().find_map(|step| match step {
        Step::Move { from_dir, .. } => from_dir.as_ref().map(Handle::id),
        _ => None,
    });
    assert_eq!(left, Some(new.id()), "{:?}", steps.iter().map(words).collect::<Vec<_>>());
}

#[test]
fn a_directory_with_much_in_it_becomes_one_mark_and_the_rest_stays_remembered() {
    let mut bench = Bench::new(40);
    let root = bench.root.clone();
    let dir = bench.there(&root, "d");
    let (below, moved) = (bench.there(&dir, "below"), bench.there(&root, "moved"));
    let out = bench.there(&below, "out");
    let early = bench.there(&root, "early");
    bench.held.touched(&moved, Touch::Data(0..4096)).unwrap();
    bench.rename(&out, (&below, "out"), (&root, "out"));
    bench.rename(&early, (&root, "early"), (&dir, "early"));
    for number in 0..100 {
        bench.make(&below, &number.to_string());
    }
    assert!(bench.held.entries() <= 12);
    // Nothing of what is in it is there any more, but it is, and what changes in it needs no note.
    assert!(bench.held.is_there(&dir) && !bench.held.is_there(&out) && bench.held.is_there(&moved));
    let entries = bench.held.entries();
    bench.rename(&moved, (&root, "moved"), (&below, "moved"));
    let inside = bench.make(&below, "inside");
    bench.held.touched(&inside, Touch::Attributes).unwrap();
    assert!(bench.held.entries() <= entries + 2);
    let (steps, rest) = bench.reshape();
    assert_eq!(rest.folded.iter().map(Handle::id).collect::<Vec<_>>(), [below.id()]);
    // What lies beside it is moved, what moved into it is found there.
    assert_eq!(steps, ["move early d/early"]);
    let names = left(&rest);
    assert_eq!((names["moved"], names["out"]), (There::Unknown, There::Nothing));
    assert!(names.keys().all(|name| !name.starts_with("d/below")), "{names:?}");
}

#[test]
fn a_marked_directory_that_is_deleted_or_moves_is_no_more_or_moves() {
    for deleted in [true, false] {
        let mut bench = Bench::new(12);
        let root = bench.root.clone();
        let (dir, other) = (bench.there(&root, "d"), bench.there(&root, "other"));
        for number in 0..50 {
            bench.make(&dir, &number.to_string());
        }
        if deleted {
            bench.delete(&dir, &root, "d", true);
        } else {
            bench.rename(&dir, (&root, "d"), (&other, "d"));
        }
        let (steps, rest) = bench.reshape();
        assert_eq!(rest.folded.len(), usize::from(!deleted));
        assert_eq!(steps, [if deleted { "remove d" } else { "move d other/d" }]);
    }
}

#[test]
fn what_changed_of_a_file_whose_only_known_name_went_is_not_forgotten_with_the_directory_it_was_in() {
    let mut bench = Bench::new(12);
    let root = bench.root.clone();
    let dir = bench.there(&root, "d");
    let file = bench.there(&dir, "f");
    bench.held.touched(&file, Touch::Data(0..4096)).unwrap();
    // Another name is left, which nobody has looked up.
    remove(&file, &dir, "f");
    bench.held.unnamed(&dir, &name("f"), &file, false, false).unwrap();
    for number in 0..50 {
        bench.make(&dir, &number.to_string());
    }
    let (_, rest) = bench.reshape();
    assert_eq!(rest.folded.iter().map(Handle::id).collect::<Vec<_>>(), [dir.id()]);
    assert!(rest.files.iter().any(|(node, dirt)| node.id() == file.id() && !dirt.data.is_empty()), "{:?}", rest.files);
}

#[test]
fn an_answer_does_not_outlive_the_look_that_asked_for_it() {
    let root = node(1);
    let text = name("a");
    let mut pass = Pass::new(1, Scope::Some(std::collections::HashMap::new()));
    pass.add_name(&root, &text, Hint::Ask);
    let (_, first) = pass.look(&root, &text);
    assert!(pass.is_untouched(&root, &text, first));
    // A live operation sees to the name, the next one makes it wait again, and another worker begins.
    pass.not_pending(&root, &text);
    pass.add_name(&root, &text, Hint::Ask);
    let (_, second) = pass.look(&root, &text);
    assert!(!pass.is_untouched(&root, &text, first) && pass.is_untouched(&root, &text, second));
    pass.touch_name(&root, &text);
    assert!(!pass.is_untouched(&root, &text, second));
}

#[test]
fn in_a_listed_directory_one_right_name_does_not_make_another_right() {
    let (root, file) = (node(1), node(2));
    for text in ["a", "b"] {
        add(&file, &root, text);
    }
    let mut pass = Pass::new(1, Scope::Some(std::collections::HashMap::new()));
    pass.set_listing(&root);
    pass.set_right(&file, Some((&root, &name("a"))), false);
    assert!(pass.is_right_at(&root, &name("a"), 2) && !pass.is_right_at(&root, &name("b"), 2));
}

#[test]
fn an_inode_that_a_clean_name_may_share_is_not_taken() {
    let all = || Scope::All(std::collections::HashSet::new());
    let mut pass: Pass<Node> = Pass::new(1, all());
    assert!(pass.claim(7, 2) && pass.claim(7, 2) && !pass.claim(7, 3));
    let mut some: Pass<Node> = Pass::new(1, Scope::Some(std::collections::HashMap::new()));
    assert!(!some.claim(7, 2));
}
