//! What two sets have that the other has not, for people.

use super::{Rule, Set};

/// The most that is compared each with each; beyond it everything counts as changed.
const MOST_COMPARED: usize = 1 << 22;

/// The rules that `new` has and `old` has not, with `+` before them, and the other way round with `-`; empty where nothing
/// changes. A rule that moved is both.
pub fn changes(old: &Set, new: &Set) -> Vec<String> {
    let mut out = Vec::new();
    if old.default_action() != new.default_action() {
        out.push(format!("- default = \"{}\"", old.default_action().word()));
        out.push(format!("+ default = \"{}\"", new.default_action().word()));
    }
    let (mut left, mut right) = (old.rules(), new.rules());
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    (left, right) = (&left[same..], &right[same..]);
    let same = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count();
    (left, right) = (&left[..left.len() - same], &right[..right.len() - same]);
    middle(left, right, &mut out);
    out
}

/// By the longest rows of rules that both have.
fn middle(left: &[Rule], right: &[Rule], out: &mut Vec<String>) {
    let removed = |rule: &Rule| format!("- {rule}");
    let added = |rule: &Rule| format!("+ {rule}");
    if left.len() * right.len() > MOST_COMPARED {
        out.extend(left.iter().map(removed).chain(right.iter().map(added)));
        return;
    }
    // common[i][j]: how many rules left[i..] and right[j..] have in common, in their order.
    let mut common = vec![vec![0_u16; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i][j] =
                if left[i] == right[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < left.len() && (j == right.len() || common[i + 1][j] >= common[i][j + 1]) {
            out.push(removed(&left[i]));
            i += 1;
        } else {
            out.push(added(&right[j]));
            j += 1;
        }
    }
}
