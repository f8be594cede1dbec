//! What is done to source, target and what is between them. Here is what there is and how one is drawn; `machine` does it.

use super::running::Failure;
use crate::rig::Commit;
use crate::seed::Random;
use crate::weather::Weather;
use rustix::io::Errno;
use std::fmt;
use std::time::Duration;

/// How somebody meddles with a replica behind replfs's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// Bytes in the middle of a file are others.
    Changed,
    /// A file is gone.
    Removed,
    /// A file is there that the source has not.
    Planted,
    /// Permissions are others.
    Mode,
}

/// One fault. What ends with it is told at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL of the source's daemon; the mount is made anew.
    KillSource,
    /// SIGKILL of the target; it is started again.
    KillTarget,
    /// SIGSTOP of the source's daemon; SIGCONT.
    StopSource,
    /// SIGSTOP of the target; SIGCONT.
    StopTarget,
    /// The link loses everything; nothing.
    Cut,
    /// The link loses what the source sends.
    Mute,
    /// The link loses what the target sends.
    Deafen,
    /// The link loses, doubles, delays, overtakes; or has a rate. It is perfect again.
    Weather(Weather),
    /// A pair of interfaces between network namespaces lets so many bits per second through (tc-tbf(8)); as many as there are.
    Bandwidth(u32),
    /// SRC's file system is full; has room.
    SourceFull,
    /// The file system of the source's state and journal is full; has room.
    StateFull,
    /// ROOT's file system is full; has room.
    RootFull,
    /// SRC's file system is read-only; writable.
    SourceReadOnly,
    /// ROOT's file system is read-only; writable. A target that runs keeps a file open for writing there, so it is killed before, and started while it is.
    RootReadOnly,
    /// The clock of the source's daemon is so many seconds ahead; right.
    SourceClock(i64),
    /// The clock of the target is so many seconds ahead; right.
    TargetClock(i64),
    /// Somebody meddles with the replica. Verification mends that, in the end.
    Tamper(Tampering),
}

/// All kinds: name, and what it is.
pub const KINDS: [(&str, &str); 20] = [
    ("kill-source", "SIGKILL of the source's daemon, mounted again"),
    ("kill-target", "SIGKILL of the target, started again"),
    ("stop-source", "SIGSTOP and SIGCONT of the source's daemon"),
    ("stop-target", "SIGSTOP and SIGCONT of the target; while it stands the replica is looked at"),
    ("cut", "the link loses everything"),
    ("mute", "the link loses what the source sends"),
    ("deafen", "the link loses what the target sends"),
    ("loss", "the link loses 2 to 15 datagrams of a hundred"),
    ("jitter", "the link delays, and lets datagrams overtake each other"),
    ("duplicate", "the link doubles a third of all datagrams, which arrive in any order"),
    ("rate", "the link lets 100 to 1000 KB pass in a second"),
    ("bandwidth", "veth and TBF between network namespaces let 1 to 16 Mbit pass in a second"),
    ("source-full", "SRC's file system is full"),
    ("state-full", "the file system of the source's state and journal is full"),
    ("root-full", "ROOT's file system is full"),
    ("source-readonly", "SRC's file system is read-only"),
    ("root-readonly", "ROOT's file system is read-only; the target is killed before and started while it is"),
    ("source-clock", "the clock of the source's daemon jumps (libfaketime)"),
    ("target-clock", "the clock of the target jumps (libfaketime)"),
    ("tamper", "in the replica bytes or permissions are changed, a file removed, a file planted"),
];

/// A thing that one fault at a time is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The source's daemon.
    Source,
    /// The target's daemon.
    Target,
    /// What is between them.
    Link,
    /// SRC's disk.
    SourceDisk,
    /// The disk of the source's state.
    StateDisk,
    /// ROOT's disk.
    RootDisk,
    /// A clock.
    Clock,
    /// The replica.
    Replica,
}

impl Fault {
    /// One of a kind, with its particulars from a seed; `None` where there is no such kind.
    pub fn draw(kind: &str, random: &mut Random) -> Option<Self> {
        let millis = Duration::from_millis;
        let weather = |weather| Some(Self::Weather(weather));
        let mut clock = || *random.pick(&[3600, -3600, 86_400 * 400, -86_400 * 40, 2, -2]);
        match kind {
            "kill-source" => Some(Self::KillSource),
            "kill-target" => Some(Self::KillTarget),
            "stop-source" => Some(Self::StopSource),
            "stop-target" => Some(Self::StopTarget),
            "cut" => Some(Self::Cut),
            "mute" => Some(Self::Mute),
            "deafen" => Some(Self::Deafen),
            "loss" => weather(Weather { lost_permille: 20 + random.below(130), ..Weather::default() }),
            "jitter" => weather(Weather {
                delay: millis(random.below(30)),
                jitter: millis(5 + random.below(60)),
                ..Weather::default()
            }),
            "duplicate" => weather(Weather { doubled_permille: 333, jitter: millis(10), ..Weather::default() }),
            "rate" => weather(Weather { bytes_per_second: 100_000 + random.below(900_000), ..Weather::default() }),
            "bandwidth" => Some(Self::Bandwidth(1 << random.below(5))),
            "source-full" => Some(Self::SourceFull),
            "state-full" => Some(Self::StateFull),
            "root-full" => Some(Self::RootFull),
            "source-readonly" => Some(Self::SourceReadOnly),
            "root-readonly" => Some(Self::RootReadOnly),
            "source-clock" => Some(Self::SourceClock(clock())),
            "target-clock" => Some(Self::TargetClock(clock())),
            "tamper" => {
                let all = [Tampering::Changed, Tampering::Removed, Tampering::Planted, Tampering::Mode];
                Some(Self::Tamper(*random.pick(&all)))
            }
            _ => None,
        }
    }

    /// What it is about.
    pub fn about(self) -> About {
        match self {
            Self::KillSource | Self::StopSource => About::Source,
            Self::KillTarget | Self::StopTarget => About::Target,
            Self::Cut | Self::Mute | Self::Deafen | Self::Weather(_) | Self::Bandwidth(_) => About::Link,
            Self::SourceFull | Self::SourceReadOnly => About::SourceDisk,
            Self::StateFull => About::StateDisk,
            Self::RootFull | Self::RootReadOnly => About::RootDisk,
            Self::SourceClock(_) | Self::TargetClock(_) => About::Clock,
            Self::Tamper(_) => About::Replica,
        }
    }

    /// Whether an application may see this failure because of it, or because of its end.
    pub fn explains(self, failure: &Failure, commit: Commit) -> bool {
        let Some(errno) = failure.errno else {
            // A program says in its own words what it met; that it failed is explained by what may fail a call.
            return !self.errors(commit).is_empty();
        };
        self.errors(commit).contains(&errno)
    }

    fn errors(self, commit: Commit) -> &'static [Errno] {
        match self {
            // Without a mount there is an empty read-only directory.
            Self::KillSource => &[Errno::NOTCONN, Errno::CONNABORTED, Errno::ROFS, Errno::NOENT, Errno::IO],
            Self::SourceFull => &[Errno::NOSPC],
            Self::SourceReadOnly => &[Errno::ROFS],
            _ if commit != Commit::Remote => &[],
            // In `remote` the application is told what the target says.
            Self::RootFull => &[Errno::NOSPC, Errno::IO],
            Self::RootReadOnly => &[Errno::ROFS, Errno::IO],
            Self::SourceClock(_) => &[],
            _ => &[Errno::IO],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weather(weather) => write!(
                f,
                "weather: {}‰ lost, {}‰ doubled, {:?} and up to {:?} more, {} B/s",
                weather.lost_permille,
                weather.doubled_permille,
                weather.delay,
                weather.jitter,
                weather.bytes_per_second
            ),
            Self::Bandwidth(mbit) => write!(f, "bandwidth {mbit} Mbit/s"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_drawn_and_nothing_else() {
        let mut random = Random::new(1);
        assert!(KINDS.iter().all(|(kind, _)| Fault::draw(kind, &mut random).is_some()));
        assert_eq!(Fault::draw("flood", &mut random), None);
    }

    #[test]
    fn what_no_fault_explains_is_a_failure() {
        let failed = |errno| Failure { errno, text: String::new(), times: 1 };
        assert!(Fault::SourceFull.explains(&failed(Some(Errno::NOSPC)), Commit::Sync));
        assert!(!Fault::RootFull.explains(&failed(Some(Errno::NOSPC)), Commit::Sync));
        assert!(Fault::RootFull.explains(&failed(Some(Errno::NOSPC)), Commit::Remote));
        assert!(!Fault::Cut.explains(&failed(None), Commit::Near), "no program notices");
    }
}
