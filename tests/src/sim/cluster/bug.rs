//! Mistakes that are switched on to see that the checks of the cluster catch them. Each stands in the simulator's own half, never in what ships.

use crate::sim::bug::bugs;
use srm::status::CommitMode;

bugs! {
    EarlyAnswer "early-answer" "an application is answered when its operation is numbered",
    AckReceived "ack-received" "what the target has received counts as applied",
    SkipRecord "skip-record" "a record has no effect, and its number counts",
    SwapTwo "swap-two" "two records change places",
    RepeatOlder "repeat-older" "a write that was applied is applied again in place of a later one",
    ZeroTail "zero-tail" "the second half of what is written is lost on its way",
    FalseCoherent "false-coherent" "repair begins without saying that the replica is incoherent",
    EarlyCoherent "early-coherent" "the end of repair is said at its beginning",
    MendChecksum "mend-checksum" "what arrives broken is applied",
    LyingSource "lying-source" "the source's disk says that it is durable, and it is not",
    UnsyncedAnswer "unsynced-answer" "in local an application is answered before the disk was waited for",
    HastyAnswer "hasty-answer" "an application is answered before its operation is carried out",
    DeafToTrouble "deaf-to-trouble" "what the target passed over, or found damaged, is not heard",
    LooseOperations "loose-operations" "in near one operation more than the bound may be behind",
    LooseAge "loose-age" "in near time goes half as fast for the source",
    GreetAhead "greet-ahead" "a target that comes back says that it has applied one record more",
    StaleFronts "stale-fronts" "what fronts are told by is kept from the connection before",
    HeldForever "held-forever" "whoever holds something back does not look again",
    AckPastSync "ack-past-sync" "what is applied is acknowledged, whatever before it is to be durable and is not",
    LooseBeside "loose-beside" "a record says that it may be applied beside one more than it may",
    ForgetPosition "forget-position" "a target that was killed comes back with an older position",
}

impl Bug {
    /// The mode in which it is looked for; any where none is named.
    pub fn mode(self) -> Option<CommitMode> {
        match self {
            Self::EarlyAnswer | Self::AckReceived | Self::AckPastSync | Self::LooseBeside => Some(CommitMode::Sync),
            Self::LooseOperations | Self::LooseAge => Some(CommitMode::Near),
            Self::HastyAnswer | Self::HeldForever => Some(CommitMode::Real),
            Self::UnsyncedAnswer | Self::LyingSource => Some(CommitMode::Local),
            _ => None,
        }
    }
}
