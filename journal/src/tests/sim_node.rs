//! What one file of the simulated disk is, was, and may be after a power cut.

use super::rng::Rng;
use std::collections::BTreeMap;

pub const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = Vec<u8>;

#[derive(Default)]
pub struct Node {
    pub now: Vec<Page>,
    pub lasting: Vec<Page>,
    /// What a page was since the last sync.
    pub between: BTreeMap<usize, Vec<Page>>,
    /// The last write was to the headers.
    pub header_written: bool,
}

impl Node {
    pub fn power_cut(&mut self, rng: &mut Rng) {
        for (at, mut versions) in std::mem::take(&mut self.between) {
            versions.push(self.lasting.get(at).cloned().unwrap_or_else(|| vec![0; PAGE]));
            // The extremes are the likeliest.
            let one = match rng.below(6) {
                0 | 1 => versions.len() - 1,
                2 | 3 => versions.len().saturating_sub(2),
                _ => usize::try_from(rng.below(versions.len() as u64)).unwrap(),
            };
            let mut page = versions[one].clone();
            if rng.one_in(4) {
                let other = &versions[usize::try_from(rng.below(versions.len() as u64)).unwrap()];
                let border = usize::try_from(rng.below((PAGE / SECTOR) as u64)).unwrap() * SECTOR;
                page[border..].copy_from_slice(&other[border..]);
            }
            if at < self.lasting.len() {
                self.lasting[at] = page;
            } else if at < self.now.len() {
                self.now[at] = page;
            }
        }
        if self.now.len() > self.lasting.len() && rng.one_in(2) {
            let longer = self.now[self.lasting.len()..].to_vec();
            self.lasting.extend(longer);
        }
        self.now.clone_from(&self.lasting);
    }

    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let page = &mut self.now[at / PAGE];
            let (piece, later) = rest.split_at(rest.len().min(PAGE - at % PAGE));
            page[at % PAGE..at % PAGE + piece.len()].copy_from_slice(piece);
            self.between.entry(at / PAGE).or_default().push(page.clone());
            (at, rest) = (at + piece.len(), later);
        }
        self.header_written = offset < 2 * PAGE;
    }
}
