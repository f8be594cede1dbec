//! Paths made absolute, and which lies inside which, whatever is missing, linked or bound elsewhere.

use crate::exit::Failure;
use protocol::RelPath;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// `path` without links, `.` and `..`, as far as it exists; what does not exist is taken as it is written.
pub fn absolute(path: &Path) -> PathBuf {
    let mut base = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    loop {
        if let Ok(found) = base.canonicalize() {
            base = found;
            break;
        }
        match base.components().next_back() {
            Some(last @ (Component::Normal(_) | Component::ParentDir)) => {
                rest.push(last.as_os_str().to_owned());
                base.pop();
            }
            _ => break,
        }
    }
    for part in rest.iter().rev() {
        if part == ".." {
            base.pop();
        } else {
            base.push(part);
        }
    }
    base
}

/// Whether `inner` is `outer` or lies somewhere below it. Both are absolute as [`absolute`] gives them. A directory that is
/// seen at two places (a bind mount) is recognised by its inode.
pub fn is_inside(inner: &Path, outer: &Path) -> bool {
    below(inner, outer).is_some()
}

/// The path of `inner` below `outer`, empty where they are the same; `None` where it is not inside, as [`is_inside`] has it.
pub fn below<'a>(inner: &'a Path, outer: &Path) -> Option<&'a Path> {
    let outer_id = identity(outer).ok();
    let found = inner.ancestors().find(|at| *at == outer || (outer_id.is_some() && identity(at).ok() == outer_id))?;
    inner.strip_prefix(found).ok()
}

/// The path below SRC that a word of a command line means: below MNT, or beginning with MNT or SRC.
pub fn named(word: &OsStr, mnt: &Path, src: &Path) -> Result<RelPath, Failure> {
    let fail = |why: &str| Failure::usage(format!("path '{}': {why}", word.to_string_lossy()));
    let path = Path::new(word);
    let inside = if path.is_absolute() {
        let candidates = [path.to_owned(), seen(path)];
        let found = candidates.iter().find_map(|path| [mnt, src].iter().find_map(|at| path.strip_prefix(at).ok()));
        found.map(Path::to_owned).ok_or_else(|| {
            fail("neither below MNT nor below SRC; give a path below one of them, or one without a '/' in front")
        })?
    } else {
        path.to_owned()
    };
    let parts: Vec<&[u8]> =
        inside.as_os_str().as_bytes().split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    RelPath::new(&parts.join(&b'/')).map_err(|e| fail(&format!("{e}; give it without '..'")))
}

/// The path with links on the way resolved, as far as it exists; its last name is taken as it is.
fn seen(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => absolute(parent).join(name),
        _ => path.to_owned(),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let meta = std::fs::metadata(path)?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_exists_is_resolved_and_what_does_not_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        std::fs::create_dir(home.join("real")).unwrap();
        symlink("real", home.join("link")).unwrap();
        assert_eq!(absolute(&home.join("link/x/../y")), home.join("real/y"));
        assert_eq!(absolute(&home.join("link/.")), home.join("real"));
        assert_eq!(absolute(&home.join("none/x")), home.join("none/x"));
    }

    #[test]
    fn inside_is_told_by_names_and_by_inodes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("a/b")).unwrap();
        assert!(is_inside(&home.join("a/b/not-there"), &home.join("a")));
        assert!(is_inside(&home.join("a"), &home.join("a")));
        assert!(!is_inside(&home.join("a"), &home.join("a/b")));
        assert!(!is_inside(&home.join("ab"), &home.join("a")));
        assert_eq!(below(&home.join("a/b/c"), &home.join("a")), Some(Path::new("b/c")));
        assert_eq!(below(&home.join("a"), &home.join("a")), Some(Path::new("")));
        symlink(home.join("a"), home.join("c")).unwrap();
        assert!(is_inside(&home.join("c/b"), &home.join("a")), "seen elsewhere, the same directory");
    }
}
