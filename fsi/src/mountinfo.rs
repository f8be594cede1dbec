//! The kernel's table of mounts: what is mounted at a place, without touching it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Device number (`MAJOR:MINOR`) of what is mounted on top at `mountpoint`, an absolute path without symbolic links.
pub(crate) fn device_at(mountpoint: &Path) -> io::Result<Option<String>> {
    Ok(top(&std::fs::read("/proc/self/mountinfo")?, mountpoint))
}

fn top(table: &[u8], mountpoint: &Path) -> Option<String> {
    // Later lines lie on top of earlier ones.
    table.split(|b| *b == b'\n').rev().find_map(|line| {
        // proc(5): id, parent, device, root, mount point, ...
        let mut fields = line.split(|b| *b == b' ').skip(2);
        let device = fields.next()?;
        let place = unescape(fields.nth(1)?);
        (place.as_bytes() == mountpoint.as_os_str().as_bytes()).then(|| String::from_utf8_lossy(device).into_owned())
    })
}

/// Blank, tab, newline and backslash stand there as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'\\'
            && let Some(digits) = tail.get(..3)
            && let Some(value) = octal(digits)
        {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    OsString::from_vec(out)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_mount_counts() {
        let table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      30 22 0:40 / /a\\040b rw,nosuid - fuse.replfs /src rw\n\
                      31 30 0:41 / /a\\040b rw - fuse.replfs /src rw\n";
        assert_eq!(top(table, Path::new("/a b")).as_deref(), Some("0:41"));
        assert_eq!(top(table, Path::new("/")).as_deref(), Some("8:1"));
        assert_eq!(top(table, Path::new("/c")), None);
    }
}
