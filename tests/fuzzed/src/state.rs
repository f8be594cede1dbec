//! The small files that a daemon leaves for the next one, and the slots of a target's position.

use srm::edge;

/// A parser that gives what it has read as it would be written again.
type Rewrite = fn(&[u8]) -> Option<Vec<u8>>;

/// The boot that slots of proposals count in.
const BOOT: [u8; 16] = [9; 16];

/// The first byte says which file; the rest is the file, or the slot.
pub fn state(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (rewrite, mend): (Rewrite, fn(&mut [u8])) = match which % 5 {
        0 => (edge::held, sum_held),
        1 => (edge::hot_set, sum_hot),
        2 => (edge::stand, |bytes| sum_at(bytes, 60)),
        3 => (target::edge::position_slot, |bytes| sum_at(bytes, 124)),
        _ => (reproposed, sum_proposed),
    };
    stays(rewrite, bytes);
    let mut summed = bytes.to_vec();
    mend(&mut summed);
    stays(rewrite, &summed);
}

fn stays(rewrite: Rewrite, bytes: &[u8]) {
    if let Some(written) = rewrite(bytes) {
        assert_eq!(rewrite(&written).as_ref(), Some(&written), "written and read again");
    }
}

fn reproposed(slot: &[u8]) -> Option<Vec<u8>> {
    let paths = edge::proposed(BOOT, slot)?;
    let written = edge::propose(BOOT, &paths);
    // Paths that a slot does not take are written as unknown.
    edge::proposed(BOOT, &written).is_some().then_some(written)
}

fn sum_at(bytes: &mut [u8], at: usize) {
    if bytes.len() >= at + 4 {
        crate::sum(bytes, 0, at, at);
    }
}

fn sum_held(bytes: &mut [u8]) {
    if let Some(body) = bytes.len().checked_sub(64) {
        bytes[52..56].copy_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..56]), &bytes[64..]);
        bytes[56..60].copy_from_slice(&crc.to_le_bytes());
    }
}

fn sum_hot(bytes: &mut [u8]) {
    sum_at(bytes, 124);
    let Some((header, entries)) = bytes.split_at_mut_checked(128) else { return };
    let seed = crc32c::crc32c(&header[..124]);
    for entry in entries.chunks_exact_mut(32) {
        let crc = crc32c::crc32c_append(seed, &entry[..28]);
        entry[28..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn sum_proposed(bytes: &mut [u8]) {
    let text = crate::word(bytes, 28).saturating_add(crate::word(bytes, 32));
    let Some(end) = text.checked_add(40).filter(|end| *end <= bytes.len()) else { return };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..36]), &bytes[40..end]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
}
