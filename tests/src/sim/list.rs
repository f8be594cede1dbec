//! Comparing a directory, page by page.

use super::bug::Bug;
use super::node::H;
use super::record::{Answer, Entry, Rec};
use super::source::Source;
use super::work::{Asked, Brought, State, Step, There};
use protocol::Name;
use srm::map::{Handle, Hint};
use std::collections::{BTreeMap, VecDeque};

/// A directory that is compared.
pub struct Listing {
    mine: VecDeque<Name>,
    after: Option<Name>,
    asked: Option<u64>,
    page: VecDeque<(Name, Option<Entry>)>,
    last: bool,
}

impl Source {
    pub(super) fn list_step(&mut self, dir: &H, state: State) -> Step {
        if !self.is_alive(dir) {
            return Step::Done;
        }
        let State::Listing(mut listing) = state else {
            let mine = self.disk.names(dir.ino()).into();
            let page = VecDeque::new();
            return Step::On(State::Listing(Listing { mine, after: None, asked: None, page, last: false }));
        };
        if !self.has_room() {
            return Step::Wait(State::Listing(listing));
        }
        if let Some((name, entry)) = listing.page.pop_front() {
            self.list_look(dir, &name, entry.as_ref());
            return Step::On(State::Listing(listing));
        }
        if listing.last {
            return Step::Done;
        }
        let target_empty = self.passing().is_some_and(|pass| pass.target_empty);
        match listing.asked.take() {
            None if target_empty => listing.take_page(Vec::new(), true),
            None => {
                let Some(path) = dir.path() else { return Step::Done };
                listing.asked = self.ask(Rec::List { path, after: listing.after.clone(), only: None });
            }
            Some(seq) => match self.answer(seq) {
                Asked::Open => {
                    listing.asked = Some(seq);
                    return Step::Wait(State::Listing(listing));
                }
                Asked::Answer(Answer::Page(entries, last)) => listing.take_page(entries, last),
                Asked::Lost if self.has(Bug::LostAnswer) => listing.take_page(Vec::new(), true),
                // It was lost: asked again.
                _ => {}
            },
        }
        Step::On(State::Listing(listing))
    }

    fn list_look(&mut self, dir: &H, name: &Name, entry: Option<&Entry>) {
        let stale = self.has(Bug::StaleAnswer);
        let Some(pass) = self.passing() else { return };
        if pass.is_pending(dir, name) && !stale {
            return;
        }
        match self.tree.lookup(&self.disk, dir, name) {
            None if entry.is_some() => self.clear_name(dir, name, There::Entry(entry), false),
            None => {}
            Some(node) => {
                if matches!(self.bring(dir, name, &node, There::Entry(entry)), Brought::Stage | Brought::Wait)
                    && let Some(pass) = self.passing()
                {
                    pass.add_name(dir, name, if entry.is_none() { Hint::Nothing } else { Hint::Ask });
                }
            }
        }
    }
}

impl Listing {
    fn take_page(&mut self, entries: Vec<Entry>, last: bool) {
        let bound = if last { None } else { entries.last().map(|entry| entry.name.clone()) };
        self.last = bound.is_none();
        let mut both: BTreeMap<Name, Option<Entry>> =
            entries.into_iter().map(|entry| (entry.name.clone(), Some(entry))).collect();
        while self.mine.front().is_some_and(|name| bound.as_ref().is_none_or(|bound| name <= bound)) {
            if let Some(name) = self.mine.pop_front() {
                both.entry(name).or_insert(None);
            }
        }
        self.page = both.into_iter().collect();
        self.after = bound;
    }
}
