//! Lets the session pull from the SRM, and remembers what the target first said, for the mount command's exit code.

use parking_lot::{Condvar, Mutex};
use protocol::{Ack, Answer, Busy, Frame, Hello, HelloAck, RefusalCode, Refused, ReplicaId, SeqNo, Trouble};
use scm::ScmError;
use scm::session::{Again, Feed};
use srm::said::words;
use srm::{Rejected, Srm};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What became of the first attempt to reach the target.
#[derive(Clone, Debug)]
pub enum FirstAnswer {
    /// It let the source in.
    Welcome,
    /// It did not.
    Refused(RefusalCode, String),
    /// The key of one side is not the right one.
    Key(String),
    /// It could not be reached.
    Lost(String),
}

/// Told the replica's id each time a target lets the source in.
type OnReplica = Box<dyn Fn(ReplicaId) + Send + Sync>;

/// The SRM as a session sees it.
pub struct SourceFeed {
    srm: Arc<Srm>,
    on_replica: OnReplica,
    first: Mutex<Option<FirstAnswer>>,
    answered: Condvar,
}

impl SourceFeed {
    /// A feed from `srm`.
    pub fn new(srm: Arc<Srm>, on_replica: impl Fn(ReplicaId) + Send + Sync + 'static) -> Arc<Self> {
        let on_replica = Box::new(on_replica);
        Arc::new(Self { srm, on_replica, first: Mutex::new(None), answered: Condvar::new() })
    }

    /// Waits for the outcome of the first attempt; `None` when the time is over.
    pub fn first_answer(&self, timeout: Duration) -> Option<FirstAnswer> {
        let deadline = Instant::now() + timeout;
        let mut first = self.first.lock();
        while first.is_none() {
            if self.answered.wait_until(&mut first, deadline).timed_out() {
                break;
            }
        }
        first.clone()
    }

    fn answer(&self, answer: FirstAnswer) {
        self.first.lock().get_or_insert(answer);
        self.answered.notify_all();
    }
}

impl Feed for SourceFeed {
    fn pause(&self) -> Duration {
        self.srm.pause_before_hello()
    }

    fn hello(&self) -> (Hello, u64) {
        self.srm.hello()
    }

    fn welcomed(&self, generation: u64, ack: &HelloAck) -> Result<(), Option<String>> {
        match self.srm.welcomed(generation, ack) {
            Ok(()) => {
                (self.on_replica)(ack.replica);
                self.answer(FirstAnswer::Welcome);
                Ok(())
            }
            Err(Rejected::Again) => Err(None),
            Err(Rejected::Replica(text)) => Err(Some(text)),
        }
    }

    fn gathers(&self) -> bool {
        self.srm.gathers()
    }

    fn next_frame(&self, generation: u64) -> Result<Option<Frame>, Again> {
        self.srm.next_frame(generation).map_err(|_| Again)
    }

    fn wants_bye(&self) -> bool {
        self.srm.wants_bye()
    }

    fn farewell(&self, ack: Ack) {
        self.srm.farewell(ack);
    }

    fn acknowledged(&self, ack: Ack) {
        self.srm.acknowledged(ack);
    }

    fn answered(&self, seq: SeqNo, answer: Answer) {
        self.srm.answered(seq, answer);
    }

    fn trouble(&self, trouble: &Trouble) {
        self.srm.trouble(trouble);
    }

    fn busy(&self, busy: Busy) {
        self.srm.busy(busy);
    }

    fn refused(&self, refused: &Refused) {
        self.srm.refused(refused);
        self.answer(FirstAnswer::Refused(refused.code, words(&refused.text)));
    }

    fn wrong_key(&self, error: &ScmError) {
        let text = error.to_string();
        self.srm.refused(&Refused { code: RefusalCode::Unknown, text: text.clone() });
        self.answer(FirstAnswer::Key(text));
    }

    fn lost(&self, reason: &str) {
        self.srm.lost(reason);
        self.answer(FirstAnswer::Lost(words(reason)));
    }
}
