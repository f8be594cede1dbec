//! What the handles of one journal share: the chain and the areas under one lock that is held for moments, never across I/O; and numbers that are read
//! without it.

use crate::area::Area;
use crate::disk::Disk;
use crate::segment::{Segment, SlotId};
use parking_lot::{Condvar, Mutex};
use protocol::{Incarnation, SeqNo};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The chain and the files.
pub struct State {
    /// In the order in which they are used.
    pub areas: Vec<Area>,
    pub next_area: u32,
    /// The chain, oldest first.
    pub live: VecDeque<Arc<Segment>>,
    /// Given out next; never twice, also when its segment came to nothing.
    pub next_serial: u64,
    /// The newest segment of the chain, trimmed or not; 0: none.
    pub last_serial: u64,
    /// Of the header that was written last.
    pub generation: u64,
    /// `None`: nothing has begun.
    pub incarnation: Option<Incarnation>,
    /// The oldest segment according to the newest mark that is durable.
    pub durable_oldest: u64,
    /// Times that what was appended last was given up.
    pub cuts: u64,
    /// The newest trimmed segment that may be missing or damaged after a power cut, because it was in memory or not synced.
    pub vanished: u64,
}

/// The state of group commit.
#[derive(Default)]
pub struct Round {
    pub running: bool,
}

pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub boot: [u8; 16],
    pub state: Mutex<State>,
    /// Held while a header is written and a generation given out, so that generations follow each other as what they say does. Before `state`.
    pub headers: Mutex<()>,
    /// Held while a file is made ahead of its time. After `headers`, before `state`.
    pub making: Mutex<()>,
    pub round: Mutex<Round>,
    pub round_over: Condvar,
    next: AtomicU64,
    oldest: AtomicU64,
    durable: AtomicU64,
    pub bytes: AtomicU64,
    poisoned: AtomicBool,
}

impl Shared {
    pub fn new(disk: Arc<dyn Disk>, boot: [u8; 16], state: State) -> Self {
        Self {
            disk,
            boot,
            state: Mutex::new(state),
            headers: Mutex::new(()),
            making: Mutex::new(()),
            round: Mutex::default(),
            round_over: Condvar::new(),
            next: AtomicU64::new(1),
            oldest: AtomicU64::new(1),
            durable: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// The number that is appended next.
    pub fn next(&self) -> SeqNo {
        SeqNo::new(self.next.load(Ordering::Acquire))
    }

    pub fn set_next(&self, next: SeqNo) {
        self.next.store(next.get(), Ordering::Release);
    }

    /// The oldest number that can be read.
    pub fn oldest(&self) -> SeqNo {
        SeqNo::new(self.oldest.load(Ordering::Acquire))
    }

    pub fn set_oldest(&self, oldest: SeqNo) {
        self.oldest.store(oldest.get(), Ordering::Release);
    }

    pub fn durable(&self) -> SeqNo {
        SeqNo::new(self.durable.load(Ordering::Acquire))
    }

    pub fn raise_durable(&self, durable: SeqNo) {
        self.durable.fetch_max(durable.get(), Ordering::AcqRel);
    }

    pub fn reset_durable(&self, durable: SeqNo) {
        self.durable.store(durable.get(), Ordering::Release);
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub fn set_poisoned(&self, poisoned: bool) {
        self.poisoned.store(poisoned, Ordering::Release);
    }
}

impl State {
    pub fn area(&mut self, id: u32) -> Option<&mut Area> {
        self.areas.iter_mut().find(|area| area.id == id)
    }

    /// The segment that holds a number, or will hold it.
    pub fn find(&self, seq: SeqNo) -> Option<Arc<Segment>> {
        let after = self.live.partition_point(|segment| segment.identity.first <= seq);
        self.live.get(after.checked_sub(1)?).map(Arc::clone)
    }

    /// Takes the oldest segment out of the chain. Its file can be used again.
    pub fn retire_front(&mut self) -> Option<Arc<Segment>> {
        let segment = self.live.pop_front()?;
        segment.retire();
        if segment.volatile || segment.synced() < segment.next() {
            self.vanished = self.vanished.max(segment.identity.serial);
        }
        self.set_use(segment.slot, crate::area::Use::Free);
        Some(segment)
    }

    pub fn set_use(&mut self, id: SlotId, state: crate::area::Use) {
        if let Some(slot) = self.area(id.area).and_then(|area| area.slot_mut(id.index)) {
            slot.state = state;
        }
    }
}
