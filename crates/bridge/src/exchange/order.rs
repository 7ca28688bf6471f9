//! The order of a frame's turns, for each direction.
#![allow(unsafe_code)] // Takes apart a turn that has ended.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(all(target_os = "linux", feature = "remote"))]
use super::direction::RenderFirstRemote;
use super::direction::{ComputeFirst, Direction, Protocol, RenderFirst};
use super::ledger::{FirstSide, NewFrame};
use super::state::State;
use super::turn::compute::ComputeTurn;
use super::turn::render::RenderTurn;
use super::turn_parts::TurnParts;
use crate::error::Result;
use crate::resources::Resources;
use crate::timeline::TimelinePoint;

impl<R: Resources, D: Direction> ComputeTurn<R, D> {
    /// Takes the frame out of a finished turn, whose drop would do nothing.
    pub(super) fn into_parts(self) -> TurnParts<R> {
        debug_assert!(self.finished);
        let mut turn = ManuallyDrop::new(self);
        turn.unjoined = None;
        // All fields are named, so that a new field causes a compile error here.
        let ComputeTurn { shared, frame, slot, rendered: _, finished: _, split: _, unjoined: _, direction: _, alive } =
            &*turn;
        // SAFETY: the turn is neither dropped nor used again, so this is the only owner now.
        let shared = unsafe { ptr::read(shared) };
        // SAFETY: as above. No other field owns anything.
        let alive = unsafe { ptr::read(alive) };
        TurnParts { shared, frame: *frame, slot: *slot, alive }
    }
}

impl<R: Resources, D: Direction> RenderTurn<R, D> {
    /// Takes the frame out of a turn that has ended, whose drop would do nothing.
    pub(super) fn into_parts(self) -> TurnParts<R> {
        debug_assert!(self.done);
        let turn = ManuallyDrop::new(self);
        // All fields are named, so that a new field causes a compile error here.
        let RenderTurn { shared, frame, slot, computed: _, done: _, direction: _, alive } = &*turn;
        // SAFETY: the turn is neither dropped nor used again, so this is the only owner now.
        let shared = unsafe { ptr::read(shared) };
        // SAFETY: as above. No other field owns anything.
        let alive = unsafe { ptr::read(alive) };
        TurnParts { shared, frame: *frame, slot: *slot, alive }
    }
}

impl Direction for ComputeFirst {
    type Begun<R: Resources> = ComputeTurn<R, Self>;
    type Submitted<R: Resources> = TimelinePoint;
    type Finished<R: Resources> = RenderTurn<R, Self>;
}

impl Protocol for ComputeFirst {
    const FIRST: FirstSide = FirstSide::Compute;

    fn begin_turn<R: Resources>(shared: &Arc<State<R>>, begun: NewFrame) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::new(shared, begun);
        match begun.wait {
            Some(value) => shared.enqueue_compute_wait(value)?,
            // No call of this frame has checked for a failure yet.
            None => shared.check_compute()?,
        }
        Ok(turn)
    }

    fn on_submitted<R: Resources>(turn: TurnParts<R>, rendered: u64, _: Duration) -> Result<TimelinePoint> {
        turn.shared.record_frame_end(rendered);
        Ok(turn.shared.objects.rendered.point(rendered))
    }

    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: u64) -> RenderTurn<R, Self> {
        RenderTurn::from_parts(turn, computed)
    }
}

impl Direction for RenderFirst {
    type Begun<R: Resources> = RenderTurn<R, Self>;
    type Submitted<R: Resources> = ComputeTurn<R, Self>;
    type Finished<R: Resources> = TimelinePoint;
}

impl Protocol for RenderFirst {
    const FIRST: FirstSide = FirstSide::Render;

    fn begin_turn<R: Resources>(shared: &Arc<State<R>>, begun: NewFrame) -> Result<RenderTurn<R, Self>> {
        Ok(RenderTurn::new(shared, begun))
    }

    fn on_submitted<R: Resources>(turn: TurnParts<R>, rendered: u64, limit: Duration) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::from_parts(turn, rendered);
        let Err(error) = turn.shared.enqueue_compute_wait(rendered) else { return Ok(turn) };
        let shared = Arc::clone(&turn.shared);
        drop(turn);
        // The caller takes every error except a timeout to mean that nothing runs.
        shared.wait_completed(rendered, limit)?;
        Err(error)
    }

    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: u64) -> TimelinePoint {
        turn.shared.record_frame_end(computed);
        turn.shared.objects.computed.point(computed)
    }
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl Direction for RenderFirstRemote {
    type Begun<R: Resources> = RenderTurn<R, Self>;
    type Submitted<R: Resources> = TimelinePoint;
    type Finished<R: Resources> = TimelinePoint;
}

#[cfg(all(target_os = "linux", feature = "remote"))]
impl Protocol for RenderFirstRemote {
    const FIRST: FirstSide = FirstSide::RenderRemote;

    fn begin_turn<R: Resources>(shared: &Arc<State<R>>, begun: NewFrame) -> Result<RenderTurn<R, Self>> {
        Ok(RenderTurn::new(shared, begun))
    }

    /// The thread that acts for the other process notifies it.
    fn on_submitted<R: Resources>(turn: TurnParts<R>, rendered: u64, _: Duration) -> Result<TimelinePoint> {
        Ok(turn.shared.objects.rendered.point(rendered))
    }

    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: u64) -> TimelinePoint {
        turn.shared.objects.computed.point(computed)
    }
}
