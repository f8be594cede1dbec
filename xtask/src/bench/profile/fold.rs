//! What `perf script` prints, counted: which functions were seen running, called by which. Pure: nothing is run here.

use std::collections::BTreeMap;

/// Parts of the names of functions that say what is done, not who runs it: replfs's own, and those of the crates that it hands work to.
const TELLING: [&str; 8] = ["replfs_", "journal::", "fuser::", "quinn", "rustls", "ring_core", "lz4_flex", "ZSTD"];

/// How often each stack was seen; the outermost function first, the one that ran last. The first of all is the thread.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stacks(pub BTreeMap<Vec<String>, u64>);

impl Stacks {
    /// Of the output of `perf script -F comm,ip,sym`: for each sample a line with the thread's name, then a line for each function,
    /// the innermost first, and an empty one.
    pub fn of(text: &str) -> Self {
        let mut stacks = Self::default();
        for sample in text.split("\n\n") {
            let mut lines = sample.lines().filter(|line| !line.trim().is_empty());
            let Some(thread) = lines.next() else { continue };
            let frames = lines.filter_map(|line| Some(plain(line.trim_start().split_once(' ')?.1)));
            let mut stack: Vec<String> = frames.collect();
            stack.push(thread.trim().to_owned());
            stack.reverse();
            *stacks.0.entry(stack).or_default() += 1;
        }
        stacks
    }

    /// How many samples there are.
    pub fn samples(&self) -> u64 {
        self.0.values().sum()
    }

    /// The functions that were seen running most often themselves, as shares of all samples.
    pub fn running(&self, most: usize) -> Vec<(String, f64)> {
        self.shares(most, |stack| stack.last().into_iter().cloned().collect())
    }

    /// Of the functions that say what is done, those that were seen most often anywhere in a stack, themselves or what they called.
    pub fn within(&self, most: usize) -> Vec<(String, f64)> {
        self.shares(most, |stack| {
            let mut once: Vec<String> = stack.iter().skip(1).filter(|name| is_telling(name)).cloned().collect();
            once.sort();
            once.dedup();
            once
        })
    }

    #[allow(clippy::cast_precision_loss)] // a share
    fn shares(&self, most: usize, names: impl Fn(&[String]) -> Vec<String>) -> Vec<(String, f64)> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (stack, count) in &self.0 {
            for name in names(stack) {
                *counts.entry(name).or_default() += count;
            }
        }
        let all = self.samples().max(1) as f64;
        let mut shares: Vec<(String, f64)> =
            counts.into_iter().map(|(name, count)| (name, count as f64 / all)).collect();
        shares.sort_by(|one, other| other.1.total_cmp(&one.1));
        shares.truncate(most);
        shares
    }
}

fn is_telling(name: &str) -> bool {
    TELLING.iter().any(|part| name.contains(part))
}

/// A function without the offset in it and without the hash that the compiler appends.
fn plain(symbol: &str) -> String {
    let symbol = symbol.trim();
    let symbol = symbol.rsplit_once("+0x").map_or(symbol, |(name, _)| name);
    let is_hash =
        |tail: &str| tail.len() == 17 && tail.starts_with('h') && tail[1..].bytes().all(|b| b.is_ascii_hexdigit());
    match symbol.rsplit_once("::") {
        Some((name, tail)) if is_hash(tail) => name.to_owned(),
        _ => symbol.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "tokio-rt-worker \n\
        \t    55d0 seal::h0123456789abcdef+0x10\n\
        \t    55d1 quinn::send+0x4\n\
        \t    55d2 main\n\
        \n\
        tokio-rt-worker \n\
        \t    55d1 quinn::send\n\
        \t    55d2 main\n\
        \n\
        fuse \n\
        \t    ffff [unknown]\n\n";

    #[test]
    fn stacks_are_counted_from_the_outside_in() {
        let stacks = Stacks::of(TEXT);
        assert_eq!(stacks.samples(), 3);
        let stack: Vec<String> = ["tokio-rt-worker", "main", "quinn::send", "seal"].map(str::to_owned).to_vec();
        assert_eq!(stacks.0.get(&stack), Some(&1));
        assert_eq!(Stacks::of(""), Stacks::default());
    }

    #[test]
    fn what_runs_and_what_it_is_called_by_are_told_apart() {
        let stacks = Stacks::of(TEXT);
        let third = |shares: &[(String, f64)], name: &str| {
            shares.iter().find(|(found, _)| found == name).map(|(_, share)| (share * 3.0).round())
        };
        assert_eq!(third(&stacks.running(10), "main"), None);
        assert_eq!(third(&stacks.running(10), "seal"), Some(1.0));
        assert_eq!(third(&stacks.within(10), "quinn::send"), Some(2.0));
        assert_eq!(third(&stacks.within(10), "main"), None);
        assert_eq!(stacks.within(1).len(), 1);
    }
}
