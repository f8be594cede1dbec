//! Lets the lanes' connections pull from the SRM.

use protocol::{Frame, LaneHello, PieceAnswer};
use scm::lane::{LaneFeed, Over};
use srm::Srm;
use srm::lanes::Seat;
use std::sync::Arc;

/// The SRM's pool of pieces as the connections see it.
pub struct SourceLanes(pub Arc<Srm>);

fn over(_: srm::lanes::Over) -> Over {
    Over
}

impl LaneFeed for SourceLanes {
    type Seat = Seat;

    fn next_lane(&self) -> Option<Seat> {
        self.0.lanes().next_lane()
    }

    fn hello(&self, seat: Seat) -> Result<LaneHello, Over> {
        self.0.lanes().hello(seat, self.0.name()).map_err(over)
    }

    fn opened(&self, seat: Seat) -> Result<(), Over> {
        self.0.lanes().opened(seat).map_err(over)
    }

    fn next_piece(&self, seat: Seat) -> Result<Option<Frame>, Over> {
        self.0.lanes().next_piece(seat).map_err(over)
    }

    fn is_idle(&self, seat: Seat) -> bool {
        self.0.lanes().is_idle(seat)
    }

    fn answered(&self, seat: Seat, n: u64, answer: PieceAnswer) -> Result<bool, Over> {
        self.0.lanes().answered(seat, n, answer).map_err(over)
    }

    fn lost(&self, seat: Seat, reason: &str) {
        self.0.lanes().lost(seat, reason);
    }

    fn ended(&self, seat: Seat) {
        self.0.lanes().ended(seat);
    }
}
