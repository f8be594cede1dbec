//! Both sides alternately, so that whatever changes on the machine from one minute to the next changes both halves of a pair: bare,
//! replfs; replfs, bare; ...

use super::floor::Floor;
use crate::bench::scene::Side;
use crate::signals;
use anyhow::{Result, ensure};

/// What one side gave; the reason where it does not count.
pub type Given<T> = Result<T, String>;

/// All rounds.
#[derive(Debug, PartialEq)]
pub struct Rounds<T> {
    /// Bare and replfs.
    pub pairs: Vec<(T, T)>,
    /// Why others do not count.
    pub discarded: Vec<String>,
}

/// What a floor's rounds gave.
#[derive(Debug)]
pub struct Found {
    pub floor: &'static Floor,
    /// Speeds, bare and replfs.
    pub speeds: Rounds<f64>,
    /// Further figures of each round, by name.
    pub more: Vec<(&'static str, Vec<f64>)>,
}

/// Does both sides so often. Errors: of a side, or the user wants this to end.
pub fn alternately<T>(rounds: usize, mut side: impl FnMut(Side) -> Result<Given<T>>) -> Result<Rounds<T>> {
    let mut all = Rounds { pairs: Vec::new(), discarded: Vec::new() };
    for round in 0..rounds {
        ensure!(!signals::enough(), "interrupted");
        let (bare, replfs);
        if Side::order(round)[0] == Side::Bare {
            bare = side(Side::Bare)?;
            replfs = side(Side::Mount)?;
        } else {
            replfs = side(Side::Mount)?;
            bare = side(Side::Bare)?;
        }
        match (bare, replfs) {
            (Ok(bare), Ok(replfs)) => all.pairs.push((bare, replfs)),
            (Err(why), _) | (_, Err(why)) => all.discarded.push(why),
        }
    }
    Ok(all)
}

impl<T> Rounds<T> {
    /// One figure of each side.
    pub fn speeds(&self, of_bare: impl Fn(&T) -> f64, of_replfs: impl Fn(&T) -> f64) -> Rounds<f64> {
        let pairs = self.pairs.iter().map(|(bare, replfs)| (of_bare(bare), of_replfs(replfs))).collect();
        Rounds { pairs, discarded: self.discarded.clone() }
    }

    /// One figure of each pair.
    pub fn each(&self, of: impl Fn(&T, &T) -> f64) -> Vec<f64> {
        self.pairs.iter().map(|(bare, replfs)| of(bare, replfs)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_first_alternates_and_pairs_do_not() {
        let mut order = Vec::new();
        let rounds = alternately(3, |side| {
            order.push(side);
            Ok(Ok(if side == Side::Bare { 1 } else { 2 }))
        });
        assert_eq!(rounds.unwrap().pairs, [(1, 2); 3]);
        let (bare, mount) = (Side::Bare, Side::Mount);
        assert_eq!(order, [bare, mount, mount, bare, bare, mount]);
    }

    #[test]
    fn a_pair_with_a_doubt_does_not_count_and_an_error_ends_all() {
        let mut times = 0;
        let rounds = alternately(2, |side| {
            times += 1;
            Ok(if times == 2 { Err("degraded".to_owned()) } else { Ok(side) })
        });
        let rounds = rounds.unwrap();
        assert_eq!(rounds.pairs, [(Side::Bare, Side::Mount)]);
        assert_eq!(rounds.discarded, ["degraded"]);
        assert!(alternately::<()>(2, |_| anyhow::bail!("no")).is_err());
    }
}
