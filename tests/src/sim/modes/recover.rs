//! After the end of somebody: what is promised of that moment, everything up again, and what is promised then.

use super::check::{self, Checked, Promise, Told};
use super::line::Line;
use super::moments::{Fate, Files, Loss, after_power_cut};
use super::source::{Action, Refusal, What};
use super::world::{World, host_fault, lock};
use protocol::ReplicaId;
use srm::AreaKind;
use srm::status::CommitMode;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

impl World {
    /// Whoever ended is up again, some of them twice; both come to be the same.
    pub(super) fn recover(&mut self) -> Checked {
        let fate = |end: Option<(u64, Fate)>| end.map(|(_, fate)| fate);
        let mut power = self.raise(fate(self.end).filter(|_| self.moments.hit().is_some()), false)?;
        if let Some(again) = self.again {
            self.moments.arm(again);
            self.lives_through(Self::come_together)?;
            self.moments.count(false);
            power = self.raise(fate(self.again).filter(|_| self.moments.hit().is_some()), power)?;
        }
        self.come_together()?;
        self.check_equal(power)?;
        self.live_on()
    }

    fn come_together(&mut self) -> Checked {
        self.line.connect(&self.srm())?;
        self.bring_together()?;
        self.settle()
    }

    /// Whoever ended is up. `power`: some machine has lost power before. Whether one has now.
    fn raise(&mut self, fate: Option<Fate>, power: bool) -> Result<bool, (Promise, String)> {
        Line::forget_who_asked();
        if !power {
            self.check_at_end()?;
        }
        let power = power || fate.is_some_and(|fate| fate.source_loss().is_some() || fate.target_loss().is_some());
        self.out_of_force.store(power, Ordering::SeqCst);
        if fate.is_some_and(Fate::hits_source) {
            // Whatever it still says on its way out, nobody hears.
            let answers: Vec<Told> = self.known.iter().map(|known| known.told).collect();
            self.source = None;
            *lock(&self.answers) = answers;
        }
        self.moments.revive();
        if let Some(loss) = fate.and_then(Fate::source_loss) {
            self.cut_source_power(loss).map_err(|error| host_fault(&error))?;
            if self.host.mode == CommitMode::Local {
                self.view(|known, view| check::on_source(Promise::Local, known, view))?;
            }
        }
        match fate.and_then(Fate::target_loss) {
            Some(loss) => self.line.target.borrow_mut().power_cut(loss),
            None if fate.is_some_and(Fate::hits_target) => self.line.target.borrow_mut().restart(),
            None => {}
        }
        if self.source.is_none() {
            self.host.replica = Some(ReplicaId::from_bytes([5; 16]));
            let source = self.host.start(Rc::clone(&self.moments)).map_err(|error| host_fault(&error))?;
            self.resumed += u64::from(source.srm.is_in_pass());
            self.source = Some(source);
        }
        Ok(power)
    }

    /// What holds at the moment of an end, whoever is dead.
    fn check_at_end(&mut self) -> Checked {
        self.hear();
        let (mode, bounds) = (self.host.mode, self.host.bounds);
        self.view(|known, view| check::check(mode, bounds, known, view))
    }

    fn cut_source_power(&mut self, loss: Loss) -> io::Result<()> {
        let left = self.moments.disk(|disk| {
            disk.now = after_power_cut(&disk.now, &disk.durable, loss);
            disk.durable = disk.now.clone();
            disk.now.clone()
        });
        let src = self.host.src();
        for entry in std::fs::read_dir(&src)? {
            std::fs::remove_file(entry?.path())?;
        }
        for (name, content) in &left {
            std::fs::write(src.join(name), content.to_le_bytes())?;
        }
        std::fs::remove_dir_all(self.host.small())?;
        if self.host.area() == AreaKind::Memory {
            std::fs::remove_dir_all(self.host.journal())?;
        }
        self.host.boot += 1;
        self.history.push(left);
        Ok(())
    }

    fn check_equal(&mut self, power: bool) -> Checked {
        let (source, target) = self.view(|_, view| (view.source.clone(), view.target.clone()));
        if source != target {
            return Err((Promise::Recovery, format!("the source has {source:?}, the target {target:?}")));
        }
        let there = self.read_source().map_err(|error| host_fault(&error))?;
        if there != source {
            return Err((Promise::Recovery, format!("SRC has {there:?}, it was to have {source:?}")));
        }
        if power {
            return Ok(());
        }
        let promise = match self.host.mode {
            CommitMode::Sync => Promise::Sync,
            CommitMode::Near => Promise::Near,
            CommitMode::Real => Promise::Real,
            CommitMode::Local => Promise::Local,
            CommitMode::Remote => Promise::Remote,
        };
        self.view(|known, view| check::check_end(promise, known, view))
    }

    fn read_source(&self) -> io::Result<Files> {
        let mut files = Files::new();
        for entry in std::fs::read_dir(self.host.src())? {
            let entry = entry?;
            let bytes = std::fs::read(entry.path())?;
            let content = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            files.insert(entry.file_name().to_string_lossy().into_owned(), content);
        }
        Ok(files)
    }

    /// One more operation is answered, and on both.
    fn live_on(&mut self) -> Checked {
        self.out_of_force.store(false, Ordering::SeqCst);
        self.app(Action { what: What::Write, file: 0, refusal: Refusal::None });
        self.settle()?;
        let last = self.known.last().map(|known| known.told);
        if last != Some(Told::Done) {
            return Err((Promise::Recovery, format!("the operation after it was told {last:?}")));
        }
        self.check_equal(true)
    }
}
