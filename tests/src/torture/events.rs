//! What happened in a round and when: kept, and written down beside the rig, so that a round that failed can be read.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The events of a round.
#[derive(Debug)]
pub struct Events {
    begin: Instant,
    aloud: bool,
    place: PathBuf,
    file: Mutex<Option<File>>,
}

impl Events {
    /// Written to a file; `aloud`: printed too. Where the file cannot be made they are printed.
    pub fn to(place: &Path, aloud: bool) -> Self {
        let file = place.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(place));
        if let Err(error) = &file {
            println!("cannot make {}: {error}; what happens is printed instead", place.display());
        }
        let aloud = aloud || file.is_err();
        Self { begin: Instant::now(), aloud, place: place.to_owned(), file: Mutex::new(file.ok()) }
    }

    /// One more; `attempts`: how many operations were tried so far.
    pub fn say(&self, attempts: u64, what: impl AsRef<str>) {
        let line = format!("{:8.3} s {attempts:7} {}", self.begin.elapsed().as_secs_f64(), what.as_ref());
        if self.aloud {
            println!("{line}");
        }
        if let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
            && let Err(error) = writeln!(file, "{line}")
        {
            println!("{line}\ncannot write {}: {error}", self.place.display());
        }
    }

    /// Where they are.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// All of them.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.place).unwrap_or_default()
    }
}
