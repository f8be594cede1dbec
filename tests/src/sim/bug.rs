//! Bugs that are switched on to see that the simulator catches them. Each stands in the simulator's own driver of the map,
//! never in what ships.

use std::str::FromStr;

/// Defines the bugs of a simulator, each with its name and what it does.
macro_rules! bugs {
    ($($variant:ident $name:literal $what:literal,)+) => {
        /// A deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $variant,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it does.
            pub fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }

        impl std::fmt::Display for Bug {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use bugs;

bugs! {
    LateChunk "late-chunk" "a piece of content that is staged lands after a newer write: what was touched meanwhile is not asked for",
    OldName "old-name" "content that was staged is put under the name that the file had when it began",
    EraseExtra "erase-extra" "what only the target has is erased, not set aside",
    ForgetAbsorbed "forget-absorbed" "data that is written while nothing is sent is not remembered",
    StaleAnswer "stale-answer" "an answer about a name is used although the name was touched since",
    NoMark "no-mark" "repair begins without saying that the replica is incoherent",
    InodeReuse "inode-reuse" "a file that is gone is not forgotten by the pass, and another gets its inode number",
    ForgetRename "forget-rename" "a rename while nothing is sent is remembered as a new name only",
    BareStaged "bare-staged" "staged content is put in its place without what was touched last",
    LinkAsCopy "link-as-copy" "one more name of a file that is right is brought over as a file of its own",
    NoListing "no-listing" "the names of a directory that was made are not compared",
    ReplayAfterFold "replay-after-fold" "what was queued when everything became dirty is sent all the same",
    UnlockedRead "unlocked-read" "content is numbered after the lock under which it was read was dropped",
    LostAnswer "lost-answer" "an answer that was lost with the connection counts as: nothing is there",
    HeldTooMuch "held-too-much" "the bound of what is remembered is not kept",
    OldPlace "old-place" "what is dirty of a file is sent to where it was when the pass began",
    ForgetFolded "forget-folded" "the content of a directory below which too much was remembered is not looked at",
    KeepFolded "keep-folded" "a queue that was given up for what changed is sent all the same",
    FoldSent "fold-sent" "what was sent and is not acknowledged is given up with the queue",
    ForgetQueued "forget-queued" "data that is written while the target is away is queued, but not remembered",
    ForgetCopy "forget-copy" "a file that is renamed while its content is copied is not copied to its end",
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|bug| bug.name() == text);
        found.copied().ok_or_else(|| format!("there is no bug {text}; --list-bugs shows them"))
    }
}
