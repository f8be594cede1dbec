//! What time is told by: how much each of two disks was given.

use super::history::Moment;
use crate::blocklog::Layer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks of a [`Watch`].
const INTERVAL: Duration = Duration::from_micros(200);

/// The clock of two disks.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Layer>,
    target: Arc<dyn Layer>,
    count: Arc<AtomicU64>,
}

impl Clock {
    /// Of these.
    pub fn new(source: Arc<dyn Layer>, target: Arc<dyn Layer>) -> Self {
        Self { source, target, count: Arc::new(AtomicU64::new(1)) }
    }

    /// A number that grows with each call, and what both disks were given so far at least.
    pub fn now(&self) -> (u64, Moment) {
        let moment = Moment { source: self.source.position(), target: self.target.position() };
        (self.count.fetch_add(1, Ordering::SeqCst), moment)
    }

    /// What both were given at one moment.
    pub fn exact(&self) -> Moment {
        loop {
            let moment = Moment { source: self.source.position(), target: self.target.position() };
            // Nothing came to the source's meanwhile.
            if self.source.position() == moment.source {
                return moment;
            }
        }
    }
}

/// Writes down moments while others work.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Moment>>,
}

impl Watch {
    /// From now on.
    pub fn start(clock: &Clock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (clock, stopped) = (clock.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut moments = vec![clock.exact()];
            while !stopped.load(Ordering::SeqCst) {
                let now = clock.exact();
                if moments.last() != Some(&now) {
                    moments.push(now);
                }
                std::thread::sleep(INTERVAL);
            }
            moments
        });
        Self { stop, thread }
    }

    /// Those at which something had happened, in order.
    #[track_caller]
    pub fn stop(self) -> Vec<Moment> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|_| panic!("the watch panicked"))
    }
}
