//! A frame on its way from its first turn to its second.
#![allow(unsafe_code)] // Takes a turn apart that has ended.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use super::compute_turn::ComputeTurn;
use super::direction::Direction;
use super::resources::Resources;
use super::state::State;
use crate::observe::live::Alive;

/// Parts of a turn that the next turn of the frame takes over, so that a frame counts its owners
/// once.
pub(super) struct Passed<R: Resources> {
    pub(super) shared: Arc<State<R>>,
    pub(super) frame: u64,
    pub(super) slot: usize,
    pub(super) alive: Alive,
}

impl<R: Resources> Passed<R> {
    /// The frame of a turn that is finished, whose drop has nothing to do.
    pub(super) fn on<D: Direction>(turn: ComputeTurn<R, D>) -> Self {
        debug_assert!(turn.finished);
        let mut turn = ManuallyDrop::new(turn);
        turn.unjoined = None;
        // SAFETY: the turn is not dropped, and not used again: this is the one owner now.
        let shared = unsafe { ptr::read(&turn.shared) };
        // SAFETY: as above. No other field owns anything.
        let alive = unsafe { ptr::read(&turn.alive) };
        Self { shared, frame: turn.frame, slot: turn.slot, alive }
    }
}
