//! Many threads that change the same names at once, and a source that is not empty when it is mounted.
#![allow(clippy::unwrap_used)]

use replfs_tests::load::Load;
use replfs_tests::rig::{Commit, Rig, Setup};
use replfs_tests::seed::seed;
use replfs_tests::{in_both_modes, tree};

in_both_modes!(
    eight_random_writers_leave_equal_trees,
    what_was_there_is_mirrored_while_applications_write,
    a_second_mount_finds_what_changed_between,
);

// claim: A12
fn eight_random_writers_leave_equal_trees(commit: Commit) {
    let rig = Rig::start(commit);
    let load = Load::start(&rig.mnt(), 8, seed());
    load.wait_for(6000);
    load.stop_clean();
    rig.finish();
}

// claim: A5
fn what_was_there_is_mirrored_while_applications_write(commit: Commit) {
    let mut rig = Rig::prepare(commit, Setup::default());
    tree::sources(&rig.src().join("sources"), 3000);
    tree::oddities(&rig.src().join("oddities"));
    // The writers find names that exist already, and change them before, while and after they are compared.
    let before = Load::start(&rig.src(), 2, 1);
    before.wait_for(500);
    before.stop_clean();
    rig.mount();
    let load = Load::start(&rig.mnt(), 4, seed());
    let renames = rig.mnt().join("sources");
    for round in 0..20 {
        let (from, to) = (renames.join("package003"), renames.join("moved"));
        let (from, to) = if round % 2 == 0 { (from, to) } else { (to, from) };
        std::fs::rename(from, to).unwrap();
        load.wait_for(load.done() + 50);
    }
    rig.wait_status("the mirror to end", |s| s.target().passes >= 1 && s.target().coherent);
    load.wait_for(load.done() + 200);
    load.stop_clean();
    rig.finish();
}

// claim: A14
fn a_second_mount_finds_what_changed_between(commit: Commit) {
    let mut rig = Rig::prepare(commit, Setup::default());
    tree::sources(&rig.src(), 300);
    rig.mount();
    rig.assert_equal();
    rig.unmount();
    // Behind replfs' back: another size, the same size and time, a new name, a lost name, another kind, attributes.
    replfs_tests::command::shell(
        &rig.src(),
        "d=$(dirname $(find package000 -name file0.rs)); echo longer >> $d/file0.rs
         touch -r $d/file1.rs ../stamp; printf '#' | dd of=$d/file1.rs conv=notrunc status=none; touch -r ../stamp $d/file1.rs
         echo new > $d/new; rm $d/file2.rs; rm $d/file3.rs; mkdir $d/file3.rs; chmod 600 $d/file4.rs; chown 5:6 $d/file5.rs
         setfattr -n user.late -v x $d/file6.rs; mv package001 package-one; ln $d/file7.rs $d/second-name",
    );
    rig.mount();
    rig.finish();
}
