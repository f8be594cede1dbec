//! How fast a mount may send, as of now: what it was mounted with, or was told since.

use crate::args::limit::Limit;
use parking_lot::RwLock;
use platform::sys;

/// See the module.
#[derive(Debug)]
pub struct Limits(RwLock<Vec<Limit>>);

impl Limits {
    /// These.
    pub fn new(limits: Vec<Limit>) -> Self {
        Self(RwLock::new(limits))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Limit> {
        self.0.read().clone()
    }

    /// Others from now on.
    pub fn set(&self, limits: Vec<Limit>) {
        *self.0.write() = limits;
    }

    /// Bytes per second that may be sent now; `None`: as many as there are.
    pub fn now(&self) -> Option<u64> {
        let limits = self.0.read();
        if limits.is_empty() { None } else { at(&limits, sys::minute_of_day()) }
    }
}

/// At a time of day the last one that names it, otherwise the last one without a time. Where nobody knows what time it is, only that.
fn at(limits: &[Limit], minute: Option<u32>) -> Option<u64> {
    let holds = |limit: &&Limit| limit.window.is_some() && minute.is_some_and(|minute| limit.holds(minute));
    let always = || limits.iter().rfind(|limit| limit.window.is_none());
    limits.iter().rfind(holds).or_else(always)?.rate
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::args::limit::limit;

    #[test]
    fn the_last_that_names_the_time_holds() {
        let limits: Vec<_> = ["08:00-18:00=2", "12:00-13:00=none", "5", "7"].map(|text| limit(text).unwrap()).to_vec();
        let at = |minute| at(&limits, minute);
        assert_eq!(at(Some(9 * 60)), Some(2 << 20));
        assert_eq!(at(Some(12 * 60)), None);
        assert_eq!((at(Some(0)), at(None)), (Some(7 << 20), Some(7 << 20)));
        assert_eq!(super::at(&limits[..1], Some(0)), None);
    }
}
