//! Mistakes that are switched on to see that the checks of the commit modes catch them. Each stands in the simulator's own half, never in what ships.

use srm::status::CommitMode;
use std::fmt;

macro_rules! bugs {
    ($($variant:ident $mode:ident $name:literal $what:literal,)+) => {
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

            /// The mode in which it is looked for.
            pub fn mode(self) -> CommitMode {
                match self { $(Self::$variant => CommitMode::$mode,)+ }
            }
        }
    };
}

bugs! {
    EarlyAnswer Sync "early-answer" "an application is answered when its operation is numbered",
    EagerAck Sync "eager-ack" "the target acknowledges what it has received and not applied",
    LooseOperations Near "loose-operations" "one operation more than the bound may be behind",
    LooseBytes Near "loose-bytes" "one operation's bytes more than the bound may be behind",
    HastyAnswer Real "hasty-answer" "an application is answered before its operation is carried out",
    GreetReceived Real "greet-received" "a target says that it has applied what it has received",
    UnsyncedAnswer Local "unsynced-answer" "an application is answered before the disk was waited for",
    EarlySync Local "early-sync" "the disk is waited for before the operation is carried out",
    Unasked Remote "unasked" "the source carries an operation out, and answers, before the target was asked",
    ForgetPutBack Remote "forget-put-back" "what the source could not do after the target did is not put back",
    DeafToRefusal Remote "deaf-to-refusal" "what the target refuses is taken for done",
    AnswerFirst Remote "answer-first" "a target says what became of a proposal before it notes that it is past it",
    LosePosition Sync "lose-position" "a target that was killed comes back one record behind what it has applied",
    RepeatRecord Real "repeat-record" "a target that was killed in the middle of a record carries it out again as if it were new",
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
