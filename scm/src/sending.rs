//! Frames of a session on their way into its connection, told as both ends agreed. One for each connection: what fronts are told by begins anew with it.

use crate::outlet::{Loader, Outlet};
use crate::packing::Packing;
use protocol::{Features, Frame};
use std::io;
use std::sync::Arc;

/// See the module.
pub(crate) struct Sending {
    loader: Loader,
    /// The target knows what records may be applied beside.
    beside: bool,
}

impl Sending {
    /// To a target that says this of itself.
    pub fn new(theirs: Features, packing: Option<&Arc<Packing>>) -> Self {
        let short = packing.is_some_and(|packing| packing.is_short());
        Self { loader: Loader::new(short), beside: theirs.has(Features::BESIDE) }
    }

    /// Adds a frame.
    pub async fn push(&mut self, frame: Frame, outlet: &mut (dyn Outlet + '_)) -> io::Result<()> {
        let frame = if self.beside { frame } else { frame.without_beside() };
        self.loader.push(frame, outlet).await
    }

    /// What was added is handed over, and leaves with the next flush.
    pub async fn load(&mut self, outlet: &mut (dyn Outlet + '_)) -> io::Result<()> {
        self.loader.write(outlet).await
    }
}
