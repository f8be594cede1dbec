//! What some runs have beside the rest: a set that leaves part of the source out, applications that cross its border, and replication that is switched off for a while.

use super::schedule::{Action, Event, What};
use crate::seed::Random;

/// Sets, of the names and the sizes that applications make: by name, by place, by size, and of all that together.
const SETS: [&str; 12] = [
    "version = 1\n[[rule]]\nexclude = \"[d-f]\"\n",
    "version = 1\n[[rule]]\nexclude = \"[ace]\"\n",
    "version = 1\n[[rule]]\nexclude = \"*\"\n[[rule]]\ninclude = \"[a-d]\"\n",
    "version = 1\n[[rule]]\nexclude = \"[d-f]/\"\n",
    "version = 1\ndefault = \"exclude\"\n[[rule]]\ninclude = \"[abd]\"\n[[rule]]\nexclude = \"c\"\n",
    "version = 1\n[[rule]]\nexclude = \"/d/**/c\"\n[[rule]]\nexclude = \"/e\"\n",
    "version = 1\n[[rule]]\nexclude = \"/d/\"\n[[rule]]\nexclude = \"/*/b\"\n[[rule]]\ninclude = \"/d/c/\"\n",
    "version = 1\n[[rule]]\nexclude = \"/[a-c]/*\"\n[[rule]]\ninclude = \"/**/[df]\"\n[[rule]]\nexclude = \"/e/\"\n",
    "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = 3000\n",
    "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nsmaller = 2000\n",
    "version = 1\n[[rule]]\nexclude = \"*\"\nkind = \"file\"\nlarger = 2500\n[[rule]]\nexclude = \"[ef]\"\n",
    "version = 1\n[[rule]]\nexclude = \"/d/*\"\nlarger = 2000\n[[rule]]\nexclude = \"*\"\nkind = \"symlink\"\n[[rule]]\nexclude = \"/e/\"\n",
];

/// Operations that may cross the border.
const CROSSING: [What; 8] =
    [What::Rename, What::Rename, What::Rename, What::Link, What::Link, What::Mkdir, What::Exchange, What::Create];
/// So many of them, at the most.
const MOST_CROSSING: u64 = 40;
/// Replication is switched off so often, at the most.
const MOST_BYPASSES: u64 = 4;
/// Makes other numbers of a seed than the rest of its schedule is made of.
const OTHER: u64 = 0xB0BD_E55E_7C0F_FEE5;

fn put(events: &mut Vec<Event>, random: &mut Random, event: Event) {
    let at = usize::try_from(random.below(events.len() as u64 + 1)).unwrap_or(0);
    events.insert(at, event);
}

/// The set of a seed, an empty text in two of three, and its schedule with what that and switching off bring.
pub(super) fn of(seed: u64, mut events: Vec<Event>) -> (&'static str, Vec<Event>) {
    let mut random = Random::new(seed ^ OTHER);
    let set = if random.once_in(3) { *random.pick(&SETS) } else { "" };
    if !set.is_empty() {
        for _ in 0..random.below(MOST_CROSSING + 1) {
            let what = *random.pick(&CROSSING);
            let client = usize::try_from(random.below(3)).unwrap_or(0);
            let action = Action { what, client, a: random.bits() >> 32, b: random.bits() >> 32 };
            put(&mut events, &mut random, Event::App(action));
        }
    }
    if random.once_in(4) {
        for _ in 0..=random.below(MOST_BYPASSES) {
            put(&mut events, &mut random, Event::Bypass(true));
            put(&mut events, &mut random, Event::Bypass(false));
        }
    }
    (set, events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use srm::set::Set;

    #[test]
    fn all_sets_can_be_read_and_leave_something_out() {
        for text in SETS {
            let set = Set::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(!set.is_everything(), "{text}");
        }
    }
}
