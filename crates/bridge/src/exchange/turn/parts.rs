//! The parts of a turn that pass from a frame's first turn to its second.

use std::sync::Arc;

use crate::exchange::resources::Resources;
use crate::exchange::state::State;
use crate::observe::live::{Alive, Kind};

/// Parts of a turn that the next turn of the frame takes over, so that reference counts are updated
/// only once per frame.
pub(in crate::exchange) struct TurnParts<R: Resources> {
    pub(in crate::exchange) shared: Arc<State<R>>,
    pub(in crate::exchange) frame: u64,
    pub(in crate::exchange) slot: usize,
    pub(in crate::exchange) alive: Alive,
}

impl<R: Resources> TurnParts<R> {
    pub(in crate::exchange) fn new(shared: &Arc<State<R>>, frame: u64, slot: usize) -> Self {
        Self { shared: Arc::clone(shared), frame, slot, alive: Alive::new(Kind::Turn) }
    }
}
