//! Questions to the target: they travel in the ordered stream, and are answered as of their place in it.

use super::Stop;
use crate::Srm;
use crate::said::is_in_order;
use bytes::Bytes;
use platform::machine;
use platform::tree::Node;
use protocol::{Answer, Draft, Entry, Name, Op, Page};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// What the target has under a name.
pub(super) enum Told {
    /// This, or nothing.
    Entry(Option<Box<Entry>>),
    /// The directory has no path any more.
    Gone,
}

/// A page of a directory that was asked for.
pub(super) enum Asked {
    /// The names after this one, or the first.
    Page(Receiver<Answer>, Option<Name>),
    /// The target is known to have none.
    Empty,
    /// The directory has no path any more.
    Gone,
}

impl Srm {
    /// Numbers a question; the answer comes later. The caller holds the namespace lock.
    pub(super) fn question(&self, number: u64, op: &Op) -> Result<Receiver<Answer>, Stop> {
        let draft = Draft::new(op, Bytes::new());
        let (sender, receiver) = sync_channel(1);
        let mut core = self.core.lock();
        core.gate.pass(number).ok_or(Stop::Over)?;
        let seq = self.queue_of_pass(&mut core, draft).ok_or(Stop::Over)?;
        core.questions.insert(seq, sender);
        Ok(receiver)
    }

    /// A page that was asked for. `None`: the answer was lost with the connection, ask again.
    fn told(&self, number: u64, answer: &Receiver<Answer>) -> Result<Option<Page>, Stop> {
        let begun = machine::now();
        let told = machine::receive(answer, None, false);
        self.core.lock().waited_since(begun);
        match told {
            Some(Answer::Page(page)) => Ok(Some(page)),
            Some(Answer::Differs(_) | Answer::Verdict(_)) => {
                self.core.lock().doubted("the target answered a question that was not asked", machine::now());
                Err(Stop::Over)
            }
            None => self.wait_for_room(number).map(|()| None),
        }
    }

    /// Asks for a page of a directory, without waiting for it.
    pub(super) fn ask_page(&self, number: u64, dir: &Arc<Node>, after: Option<Name>) -> Result<Asked, Stop> {
        self.wait_for_room(number)?;
        let names = self.tree.names().read();
        let Some(path) = dir.path(&names) else { return Ok(Asked::Gone) };
        let mut core = self.core.lock();
        let pass = core.gate.pass(number).ok_or(Stop::Over)?;
        if pass.target_empty {
            return Ok(Asked::Empty);
        }
        let hash = pass.by_content || pass.hot.as_ref().is_some_and(|hot| hot.has_directory(dir));
        drop(core);
        let question = Op::List { path, after: after.clone(), last: None, hash };
        Ok(Asked::Page(self.question(number, &question)?, after))
    }

    /// The page that was asked for; `None` where the directory has gone meanwhile.
    pub(super) fn page(&self, number: u64, dir: &Arc<Node>, asked: Asked) -> Result<Option<Page>, Stop> {
        let mut asked = asked;
        loop {
            let (answer, after) = match asked {
                Asked::Gone => return Ok(None),
                Asked::Empty => return Ok(Some(Page { exists: true, entries: Vec::new(), complete: true, own: None })),
                Asked::Page(answer, after) => (answer, after),
            };
            if let Some(page) = self.told(number, &answer)? {
                if is_in_order(&page, after.as_ref()) {
                    return Ok(Some(page));
                }
                self.core.lock().doubted("the target told the names of a directory out of order", machine::now());
                return Err(Stop::Over);
            }
            asked = self.ask_page(number, dir, after)?;
        }
    }

    /// Asks what the target has under one name; the answer holds as long as nothing touches the name.
    pub(super) fn entry(&self, number: u64, dir: &Arc<Node>, name: &Name) -> Result<Told, Stop> {
        loop {
            self.wait_for_room(number)?;
            let answer = {
                let names = self.tree.names().read();
                let Some(path) = dir.path(&names) else { return Ok(Told::Gone) };
                self.question(number, &Op::Look { path, name: name.clone(), hash: true })?
            };
            if let Some(page) = self.told(number, &answer)? {
                let entry = page.entries.into_iter().find(|entry| entry.name == *name);
                return Ok(Told::Entry(entry.map(Box::new)));
            }
        }
    }
}
