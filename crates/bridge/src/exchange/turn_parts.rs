//! The parts of a turn that pass from a frame's first turn to its second.

use std::sync::Arc;

use super::state::State;
use crate::observe::live::{Alive, Kind};
use crate::resources::Resources;

/// Parts of a turn that the next turn of the frame takes over, so that reference counts are updated
/// only once per frame.
pub(super) struct TurnParts<R: Resources> {
    pub(super) shared: Arc<State<R>>,
    pub(super) frame: u64,
    pub(super) slot: usize,
    pub(super) alive: Alive,
}

impl<R: Resources> TurnParts<R> {
    pub(super) fn new(shared: &Arc<State<R>>, frame: u64, slot: usize) -> Self {
        Self { shared: Arc::clone(shared), frame, slot, alive: Alive::new(Kind::Turn) }
    }
}
