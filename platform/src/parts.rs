//! Content in the parts in which it arrived (C4): nobody copies it together before it is written.

use bytes::Bytes;
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

/// So many parts are written at once: what `pwritev(2)` takes at most.
const AT_ONCE: usize = 1024;

/// Some content, of one or many parts.
#[derive(Clone, Debug, Default)]
pub struct Parts(Kind);

#[derive(Clone, Debug)]
enum Kind {
    One(Bytes),
    Many(Vec<Bytes>, usize),
}

impl Default for Kind {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl From<Bytes> for Parts {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::One(bytes))
    }
}

impl From<Vec<Bytes>> for Parts {
    fn from(parts: Vec<Bytes>) -> Self {
        let len = parts.iter().map(Bytes::len).sum();
        Self(Kind::Many(parts, len))
    }
}

impl Parts {
    /// Length of all of it in bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::One(bytes) => bytes.len(),
            Kind::Many(_, len) => *len,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts, in their order.
    pub fn parts(&self) -> &[Bytes] {
        match &self.0 {
            Kind::One(bytes) => std::slice::from_ref(bytes),
            Kind::Many(parts, _) => parts,
        }
    }

    /// CRC-32C of all of it.
    pub fn crc(&self) -> u32 {
        self.parts().iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
    }

    /// All of it in one place, copied together where it is not: for what is small, or is not written to a file.
    pub fn whole(&self) -> Bytes {
        match &self.0 {
            Kind::One(bytes) => bytes.clone(),
            Kind::Many(parts, _) => parts.concat().into(),
        }
    }

    /// Writes all of it from an offset of a file on.
    pub fn write_to(&self, fd: impl AsFd, mut offset: u64) -> io::Result<()> {
        if let Kind::One(bytes) = &self.0 {
            return crate::sys::content::write_all(fd, bytes, offset);
        }
        for parts in self.parts().chunks(AT_ONCE) {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match rustix::io::pwritev(&fd, left, offset) {
                    Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more")),
                    Ok(written) => {
                        IoSlice::advance_slices(&mut left, written);
                        offset += written as u64;
                    }
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn many_parts_are_what_they_are_together() {
        let dir = tempfile::tempdir().unwrap();
        for count in [0, 1, 3, AT_ONCE, 3 * AT_ONCE + 1] {
            let all: Vec<u8> = (0..count * 7).map(|n| n.to_le_bytes()[0]).collect();
            // Some are empty.
            let parts: Vec<_> = all.chunks(7).flat_map(|part| [Bytes::new(), Bytes::copy_from_slice(part)]).collect();
            let one = Parts::from(Bytes::from(all.clone()));
            let many = Parts::from(parts);
            assert_eq!((many.len(), many.is_empty(), many.crc()), (one.len(), one.is_empty(), one.crc()));
            assert!(many.whole() == all && one.whole() == all);
            for (name, parts) in [("one", one), ("many", many)] {
                let path = dir.path().join(name);
                parts.write_to(File::create(&path).unwrap(), 5).unwrap();
                let wanted = if all.is_empty() { Vec::new() } else { [&[0; 5][..], &all].concat() };
                assert!(fs::read(path).unwrap() == wanted, "{name} of {count}");
            }
        }
    }
}
