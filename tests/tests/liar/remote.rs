//! Commit mode `remote` with a target that lies in its verdicts: what was refused has not happened on the source, what was answered has.

use super::session::Between;
use protocol::{Answer, Message, SeqNo, Verdict};
use replfs_tests::liar::Say;
use replfs_tests::rig::Commit;
use std::fs;

fn verdict(seq: SeqNo, errno: u32, unchanged: bool) -> Say {
    Message::Answer(seq, Answer::Verdict(Verdict { errno, unchanged })).into()
}

// claim: A249
#[test]
fn verdicts_that_are_lies_are_errors_and_source_and_application_agree() {
    let between = Between::new(Commit::Remote, &["--remote-timeout", "3s"]);
    let (rig, mnt) = (&between.rig, between.rig.mnt());
    let pid = rig.source_pid();
    let lies: [fn(SeqNo) -> Vec<Say>; 9] = [
        |seq| vec![verdict(seq, 28, true)],
        |seq| vec![verdict(seq, 38, true)],
        |seq| vec![verdict(seq, 38, false)],
        |seq| vec![verdict(seq, u32::MAX, false)],
        |seq| vec![verdict(seq, 512, true)],
        // For another's, and twice.
        |seq| {
            vec![
                verdict(seq.next(), 0, false),
                verdict(SeqNo::new(u64::MAX), 5, true),
                verdict(seq, 0, true),
                verdict(seq, 5, true),
            ]
        },
        |seq| vec![Message::Answer(seq, Answer::Differs(vec![])).into()],
        // None.
        |_| vec![],
        |_| vec![Say::Close],
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let file = mnt.join(format!("f{number}"));
        fs::write(&file, "before").unwrap();
        rig.settle();
        between.tell(Box::new(move |message| match message {
            Message::Answer(seq, Answer::Verdict(_)) => Some(lie(*seq)),
            _ => None,
        }));
        let done = fs::rename(&file, mnt.join("moved"));
        assert!(between.is_told(), "case {number}");
        let there = |path: &str| (rig.src().join(path).exists(), mnt.join(path).exists());
        let (old, new) = (there(&format!("f{number}")), there("moved"));
        if let Err(error) = &done {
            assert_ne!(error.raw_os_error(), Some(libc::ENOSYS), "case {number}");
            assert_eq!((old, new), ((true, true), (false, false)), "case {number}: {error}");
        } else {
            assert_eq!((old, new), ((false, false), (true, true)), "case {number}");
        }
        assert_eq!(rig.status().pid, pid);
        rig.settle();
        let _moved = fs::remove_file(mnt.join("moved"));
    }
    // One that says that there is no such thing as an fsync is not believed for good.
    let file = fs::File::create(mnt.join("synced")).unwrap();
    rig.settle();
    between.tell(Box::new(move |message| match message {
        Message::Answer(seq, Answer::Verdict(_)) => Some(vec![verdict(*seq, 38, true)]),
        _ => None,
    }));
    let failed = file.sync_all().unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    rig.settle();
    between.tell(Box::new(move |message| match message {
        Message::Answer(seq, Answer::Verdict(_)) => Some(vec![verdict(*seq, 122, true)]),
        _ => None,
    }));
    let failed = file.sync_all().unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EDQUOT), "the kernel asks for it again");
    rig.settle();
    file.sync_all().unwrap();
    drop(file);
    // What the target did and denied is found by asking what it has.
    rig.replfs("verify", &[mnt.to_str().unwrap(), "--repair"]).ok();
    let Between { rig, liar, .. } = between;
    rig.finish();
    drop(liar);
}
