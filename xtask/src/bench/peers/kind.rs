//! Which ways of having a replica are measured beside each other.

use clap::ValueEnum;

/// As the command line has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// replfs with no target: the FUSE layer alone
    Bypass,
    /// replfs, commit=real
    Real,
    /// The same, its target stopped while the application works
    RealStopped,
    /// replfs, commit=near
    Near,
    /// replfs, commit=sync
    Sync,
    /// `GlusterFS`, a volume with two replicas
    Gluster,
    /// lsyncd with rsync to an rsync daemon
    Lsyncd,
    /// A loop over inotifywait with rsync to an rsync daemon
    Inotify,
}

impl Kind {
    /// Those that were asked for, in the order in which they run; all where none was named.
    pub fn of(asked: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|kind| asked.is_empty() || asked.contains(kind)).collect()
    }

    /// In tables, documents and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Real => "real",
            Self::RealStopped => "real-stopped",
            Self::Near => "near",
            Self::Sync => "sync",
            Self::Gluster => "gluster",
            Self::Lsyncd => "lsyncd",
            Self::Inotify => "inotify",
        }
    }

    /// What that means, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Bypass => "replfs with no target: the FUSE layer alone, and no replica",
            Self::Real => "replfs, commit=real",
            Self::RealStopped => {
                "replfs, commit=real, its target killed before the application begins and started again after it"
            }
            Self::Near => "replfs, commit=near",
            Self::Sync => "replfs, commit=sync",
            Self::Gluster => "GlusterFS, replica 2, a brick on each machine, its options as installed",
            Self::Lsyncd => "lsyncd, default.rsync, delay 1 s, to an rsync daemon",
            Self::Inotify => "inotifywait -m -r in a loop with rsync -a --delete, to an rsync daemon",
        }
    }

    /// Whether it is this repository's.
    pub fn is_replfs(self) -> bool {
        matches!(self, Self::Bypass | Self::Real | Self::RealStopped | Self::Near | Self::Sync)
    }

    /// The programs that it needs beside those of every bench.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Gluster => &["glusterd", "gluster", "glusterfs"],
            Self::Lsyncd => &["lsyncd", "rsync"],
            Self::Inotify => &["inotifywait", "rsync"],
            _ => &[],
        }
    }

    /// The Debian packages whose versions are its own.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Gluster => &["glusterfs-server"],
            Self::Lsyncd => &["lsyncd", "rsync"],
            Self::Inotify => &["inotify-tools", "rsync"],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for kind in Kind::value_variants() {
            let word = kind.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(word.as_deref(), Some(kind.name()));
        }
    }

    #[test]
    fn without_a_name_all_are_meant() {
        assert_eq!(Kind::of(&[]).len(), Kind::value_variants().len());
        assert_eq!(Kind::of(&[Kind::Sync, Kind::Bypass]), [Kind::Bypass, Kind::Sync]);
    }
}
