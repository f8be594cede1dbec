//! What is there of what the writers did, looked for in a tree: on SRC, on a replica, or on a copy of either.

use super::history::{Bounds, CELLS, GROWING, NAMES, OBJECTS, REPLACED};
use super::work::{CELL, RECORD, content, place};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;

/// The versions of a writer's objects: `None` for a link that is not there.
pub type Seen = Vec<Option<u32>>;

/// Looks at everything of a writer. Errors: something is there that nobody ever wrote, or that is never missing is missing.
/// `whole`: nothing that was not synced can be half there, because nothing has lost power.
pub fn writer(root: &Path, number: usize, bounds: &[Bounds], whole: bool) -> Result<Seen> {
    let at = place(root, number);
    let read = |name: &str| fs::read(at.join(name)).with_context(|| format!("cannot read {}/{name}", at.display()));
    let mut seen = Vec::with_capacity(usize::from(OBJECTS));
    let cells = read("cells")?;
    ensure!(cells.len() == usize::from(CELLS) * CELL, "{}/cells has {} bytes", at.display(), cells.len());
    for (object, data) in (0..CELLS).zip(cells.chunks(CELL)) {
        let version = stamp(data);
        ensure!(
            data == content(number, object, version),
            "{}: block {object} is none of the versions that were written",
            at.display()
        );
        seen.push(Some(version));
    }
    seen.push(Some(records(number, &read("growing")?, bounds[usize::from(GROWING)], whole)?));
    let replaced = read("replaced")?;
    let version = stamp(&replaced);
    ensure!(replaced == content(number, REPLACED, version), "{}/replaced is torn", at.display());
    seen.push(Some(version));
    for object in NAMES..OBJECTS {
        seen.push(match fs::read_link(at.join("names").join(object.to_string())) {
            Ok(to) => Some(to.to_string_lossy().parse().with_context(|| format!("a link to {}", to.display()))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read a link of {}", at.display())),
        });
    }
    Ok(seen)
}

fn stamp(data: &[u8]) -> u32 {
    data.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes))
}

/// How many records there are from the beginning on. What was not synced may be there in any state, but not beyond what was written.
fn records(number: usize, data: &[u8], bounds: Bounds, whole: bool) -> Result<u32> {
    let right = |(n, record): &(u32, &[u8])| *record == content(number, GROWING, *n);
    let found = (1..).zip(data.chunks(RECORD)).take_while(right).count();
    let most = usize::try_from(bounds.most)?;
    ensure!(data.len() <= most * RECORD, "{} bytes, and {most} records had been begun", data.len());
    ensure!(!whole || found * RECORD == data.len(), "{found} records in {} bytes", data.len());
    Ok(u32::try_from(found)?)
}

/// Whether everything is within its bounds. Errors: what is not.
pub fn within(seen: &[Option<u32>], bounds: &[Bounds]) -> Result<()> {
    for (object, (seen, Bounds { least, most })) in seen.iter().zip(bounds).enumerate() {
        let fits = match seen {
            Some(version) => (least..=most).contains(&version) && (object < usize::from(NAMES) || version % 2 == 1),
            // Any of its absences.
            None => least % 2 == 0 || most > least,
        };
        if !fits {
            bail!("object {object} is at {seen:?}, and has to be from {least} to {most}");
        }
    }
    Ok(())
}
