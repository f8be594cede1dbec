//! From which number on the replica is not a prefix of what the source did, and until which. Pure; what the target does about it stands in the
//! marks that it is sent (`protocol::Mark`).

use protocol::SeqNo;

/// The stretch of numbers in which the replica is no state that the source had, if there is one now or to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoherent {
    /// First and last number; without a last one nobody knows yet when it ends.
    stretch: Option<(SeqNo, Option<SeqNo>)>,
}

impl Incoherent {
    /// Repair begins with this number. Where the last stretch has not ended on the target, this is the same one.
    pub fn begins(&mut self, seq: SeqNo, applied: SeqNo) {
        let from = self.from(applied).unwrap_or(seq);
        self.stretch = Some((from, None));
    }

    /// Repair is over with this number.
    pub fn ends(&mut self, seq: SeqNo) {
        self.stretch = self.stretch.map(|(from, _)| (from, Some(seq)));
    }

    /// What is not applied never will be: numbers begin anew.
    pub fn is_cut(&mut self, applied: SeqNo) {
        self.stretch = self.from(applied).map(|from| (from, None));
    }

    /// The first number of the stretch, if the target is not past its end. Up to the one before it the replica is a prefix.
    pub fn from(&self, applied: SeqNo) -> Option<SeqNo> {
        let (from, until) = self.stretch?;
        until.is_none_or(|until| until > applied).then_some(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> SeqNo {
        SeqNo::new(n)
    }

    #[test]
    fn a_stretch_lasts_until_its_end_is_applied() {
        let mut incoherent = Incoherent::default();
        assert_eq!(incoherent.from(seq(9)), None);
        incoherent.begins(seq(10), seq(9));
        incoherent.ends(seq(20));
        assert_eq!((incoherent.from(seq(19)), incoherent.from(seq(20))), (Some(seq(10)), None));
    }

    #[test]
    fn repair_that_begins_before_the_last_one_is_applied_is_the_same_stretch() {
        let mut incoherent = Incoherent::default();
        incoherent.begins(seq(10), seq(9));
        incoherent.ends(seq(20));
        incoherent.begins(seq(21), seq(15));
        assert_eq!(incoherent.from(seq(20)), Some(seq(10)));
        incoherent.ends(seq(30));
        incoherent.begins(seq(41), seq(40));
        assert_eq!(incoherent.from(seq(40)), Some(seq(41)));
    }

    #[test]
    fn an_end_that_is_never_applied_is_none() {
        let mut incoherent = Incoherent::default();
        incoherent.begins(seq(10), seq(9));
        incoherent.ends(seq(20));
        incoherent.is_cut(seq(15));
        assert_eq!(incoherent.from(seq(30)), Some(seq(10)));
        incoherent.ends(seq(40));
        incoherent.is_cut(seq(40));
        assert_eq!(incoherent.from(seq(40)), None);
    }
}
