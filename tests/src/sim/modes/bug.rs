//! Mistakes that are switched on to see that the checks of the commit modes catch them. Each stands in the simulator's own half, never in what ships.

use crate::sim::bug::bugs;
use srm::status::CommitMode;

bugs! {
    EarlyAnswer "early-answer" "an application is answered when its operation is numbered",
    EagerAck "eager-ack" "the target acknowledges what it has received and not applied",
    LooseOperations "loose-operations" "one operation more than the bound may be behind",
    LooseBytes "loose-bytes" "one operation's bytes more than the bound may be behind",
    HastyAnswer "hasty-answer" "an application is answered before its operation is carried out",
    GreetReceived "greet-received" "a target says that it has applied what it has received",
    UnsyncedAnswer "unsynced-answer" "an application is answered before the disk was waited for",
    EarlySync "early-sync" "the disk is waited for before the operation is carried out",
    Unasked "unasked" "the source carries an operation out, and answers, before the target was asked",
    ForgetPutBack "forget-put-back" "what the source could not do after the target did is not put back",
    DeafToRefusal "deaf-to-refusal" "what the target refuses is taken for done",
    AnswerFirst "answer-first" "a target says what became of a proposal before it notes that it is past it",
    LosePosition "lose-position" "a target that was killed comes back one record behind what it has applied",
    RepeatRecord "repeat-record" "a target that was killed in the middle of a record carries it out again as if it were new",
}

impl Bug {
    /// The mode in which it is looked for.
    pub fn mode(self) -> CommitMode {
        match self {
            Self::EarlyAnswer | Self::EagerAck | Self::LosePosition => CommitMode::Sync,
            Self::LooseOperations | Self::LooseBytes => CommitMode::Near,
            Self::HastyAnswer | Self::GreetReceived | Self::RepeatRecord => CommitMode::Real,
            Self::UnsyncedAnswer | Self::EarlySync => CommitMode::Local,
            Self::Unasked | Self::ForgetPutBack | Self::DeafToRefusal | Self::AnswerFirst => CommitMode::Remote,
        }
    }
}
