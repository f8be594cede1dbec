//! Somebody on the target's machine changes a replica, which nobody may but its target.

use super::fault::Tampering;
use crate::seed::Random;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names that are looked at.
const MOST: usize = 2000;

/// Does it somewhere below `replica`; what was done. Errors: there is nothing to do it to, or it is gone just now.
pub fn tamper(how: Tampering, replica: &Path, random: &mut Random) -> io::Result<String> {
    let (mut files, mut dirs) = (Vec::new(), Vec::new());
    list(replica, &mut files, &mut dirs);
    let none = || io::Error::from(io::ErrorKind::NotFound);
    let mut one = || if files.is_empty() { Err(none()) } else { Ok(random.pick(&files).clone()) };
    match how {
        Tampering::Changed => {
            let path = one()?;
            let file = File::options().read(true).write(true).open(&path)?;
            let at = file.metadata()?.len() / 2;
            let mut byte = [0];
            if file.read_at(&mut byte, at)? == 0 {
                return Err(none());
            }
            file.write_all_at(&[byte[0] ^ 0x55], at)?;
            Ok(format!("byte {at} of {} changed", path.display()))
        }
        Tampering::Removed => {
            let path = one()?;
            fs::remove_file(&path)?;
            Ok(format!("{} removed", path.display()))
        }
        Tampering::Mode => {
            let path = one()?;
            fs::set_permissions(&path, Permissions::from_mode(0o604))?;
            Ok(format!("permissions of {} changed", path.display()))
        }
        Tampering::Planted => {
            let dir = if dirs.is_empty() { replica } else { random.pick(&dirs).as_path() };
            let path = dir.join(format!("planted{:x}", random.below(1 << 16)));
            fs::write(&path, "nobody on the source has ever written this")?;
            Ok(format!("{} planted", path.display()))
        }
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>, dirs: &mut Vec<PathBuf>) {
    // What goes away meanwhile is not there.
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if files.len() + dirs.len() >= MOST {
            return;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                dirs.push(entry.path());
                list(&entry.path(), files, dirs);
            }
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}
