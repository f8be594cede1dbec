//! How numbers are written in a short front, and read: `MessagePack` has no part in it.

use super::ShortError;

/// Seven bits in each byte, the lowest first; the highest bit says that more come.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// A difference: 0, -1, 1, -2 and so on are 0, 1, 2, 3.
pub(super) fn put_signed(out: &mut Vec<u8>, difference: u64) {
    let sign = 0u64.wrapping_sub(difference >> 63);
    put_varint(out, difference << 1 ^ sign);
}

/// What is left of a short front.
pub(super) struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    pub fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ShortError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ShortError::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self, what: &'static str) -> Result<u8, ShortError> {
        Ok(self.take(1, what)?[0])
    }

    pub fn four(&mut self, what: &'static str) -> Result<u32, ShortError> {
        let taken = self.take(4, what)?;
        Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    pub fn varint(&mut self, what: &'static str) -> Result<u64, ShortError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ShortError::Field(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ShortError::Field(what))
    }

    /// A difference, to be added with wrapping.
    pub fn signed(&mut self, what: &'static str) -> Result<u64, ShortError> {
        let coded = self.varint(what)?;
        Ok(coded >> 1 ^ 0u64.wrapping_sub(coded & 1))
    }
}
