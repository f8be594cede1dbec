//! Where SRC, MNT, ROOT and the state really are, and that none of them is where it must not be.

use super::asked::Asked;
use super::mounts;
use crate::args::MountArgs;
use crate::args::target_name::TargetPlace;
use crate::exit::{Code, Failure, reason};
use crate::paths::{self, is_inside};
use crate::state::Places;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The places of a mount, absolute and without links.
#[derive(Debug)]
pub(super) struct Resolved {
    pub src: PathBuf,
    pub mnt: PathBuf,
    pub target: TargetPlace,
    pub places: Places,
}

impl Resolved {
    /// Finds and checks them.
    pub fn find(args: &MountArgs, asked: &Asked) -> Result<Self, Failure> {
        let src = directory(Code::Source, "source", &args.src)?;
        let mnt = directory(Code::Mountpoint, "mount point", &args.mnt)?;
        let target = match &asked.target {
            TargetPlace::Local(root) => TargetPlace::Local(paths::absolute(root)),
            other @ (TargetPlace::Remote { .. } | TargetPlace::None) => other.clone(),
        };
        let resolved = Self { src, mnt, target, places: Places::find(&args.replication.state)? };
        resolved.check_mounts()?;
        resolved.check_places()?;
        Ok(resolved)
    }

    /// Neither is replfs already there, nor is SRC mounted in place.
    fn check_mounts(&self) -> Result<(), Failure> {
        if mounts::replfs_at(&self.src).is_some_and(|mount| mount.source == self.src) {
            return Err(mounted_already(&self.src, &self.src));
        }
        if let Some(mount) = mounts::replfs_at(&self.mnt) {
            if mount.source == self.src {
                return Err(mounted_already(&self.src, &self.mnt));
            }
            return Err(Failure::new(
                Code::Mountpoint,
                format!(
                    "mount point {}: {} is mounted there by replfs; unmount it first, or choose another directory",
                    self.mnt.display(),
                    mount.source.display()
                ),
            ));
        }
        Ok(())
    }

    /// What must not be replicated with the source, with what it is: it may lie inside the source only where the set leaves
    /// it out ([`super::SetFile`]).
    pub fn apart(&self) -> Vec<(PathBuf, &'static str)> {
        let mut apart = vec![
            (
                self.places.state().to_owned(),
                "the state directory lies inside the source; give --state DIR outside of it",
            ),
            (
                self.places.source_sockets().to_owned(),
                "the directory for sockets lies inside the source; give --state DIR outside of it",
            ),
        ];
        if let TargetPlace::Local(root) = &self.target {
            apart.push((root.clone(), "the target's ROOT lies inside the source; choose one outside of it"));
        }
        apart
    }

    /// Places that would contain each other: what is written to one would be replicated into itself, or hidden by the mount.
    fn check_places(&self) -> Result<(), Failure> {
        let (src, mnt, state) = (self.src.as_path(), self.mnt.as_path(), self.places.state());
        let key = self.places.source_sockets();
        let mut wrong = vec![
            (state, mnt, "the state directory lies inside the mount point; give --state DIR outside of it"),
            (key, mnt, "the directory for sockets lies inside the mount point; give --state DIR outside of it"),
        ];
        if let TargetPlace::Local(root) = &self.target {
            wrong.extend([
                (src, root.as_path(), "the source lies inside the target's ROOT; choose a ROOT elsewhere"),
                (root.as_path(), mnt, "the target's ROOT lies inside the mount point; choose one outside of it"),
                (mnt, root.as_path(), "the mount point lies inside the target's ROOT; choose one outside of it"),
            ]);
        }
        if src != mnt {
            wrong.push((mnt, src, "the mount point lies inside the source; choose one outside of it, or SRC itself"));
        }
        match wrong.iter().find(|(inner, outer, _)| is_inside(inner, outer)) {
            Some((inner, outer, why)) => {
                Err(Failure::usage(format!("{} and {}: {why}", inner.display(), outer.display())))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn mounted_already(src: &Path, mnt: &Path) -> Failure {
    Failure::new(
        Code::InUse,
        format!("source {} is mounted already, at {}; unmount it there first", src.display(), mnt.display()),
    )
}

/// A directory that must be there.
fn directory(code: Code, what: &str, path: &Path) -> Result<PathBuf, Failure> {
    let fail = |why: &str| Failure::new(code, format!("{what} {}: {why}", path.display()));
    if mounts::is_dead(path) {
        return Err(fail("a dead mount is there; clear it with 'umount -l', then mount again"));
    }
    let found = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => fail("there is no such directory; make it, or mount what it is on"),
        _ => fail(&reason(&error)),
    })?;
    let meta = std::fs::metadata(&found).map_err(|error| fail(&reason(&error)))?;
    if meta.is_dir() { Ok(found) } else { Err(fail("not a directory; give a directory")) }
}

/// A path with its `.` and `..` taken out as they are written.
pub(super) fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(src: &str, mnt: &str, target: &str, state: &str) -> Result<(), Failure> {
        let state = crate::args::StateArgs { dir: Some(state.into()) };
        Resolved {
            src: src.into(),
            mnt: mnt.into(),
            target: TargetPlace::parse(target).unwrap(),
            places: Places::find(&state).unwrap(),
        }
        .check_places()
    }

    #[test]
    fn places_inside_one_another_are_refused_as_usage() {
        for (src, mnt, target, state) in [
            ("/no/r/s", "/no/m", "/no/r", "/no/st"),
            ("/no/s", "/no/m", "/no/s", "/no/st"),
            ("/no/s", "/no/m", "/no/m/root", "/no/st"),
            ("/no/s", "/no/r/m", "/no/r", "/no/st"),
            ("/no/s", "/no/m", "/no/r", "/no/m/state"),
            ("/no/s", "/no/s/m", "/no/r", "/no/st"),
        ] {
            assert_eq!(at(src, mnt, target, state).unwrap_err().code, Code::Usage, "{src} {mnt} {target} {state}");
        }
    }

    #[test]
    fn places_beside_one_another_are_fine_and_so_is_a_mount_in_place() {
        at("/no/s", "/no/m", "/no/r", "/no/st").unwrap();
        at("/no/s", "/no/s", "/no/r", "/no/st").unwrap();
        at("/no/m/s", "/no/m", "host", "/no/st").unwrap();
    }
}
