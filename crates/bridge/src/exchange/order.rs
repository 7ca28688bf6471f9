//! The order of a frame's turns, for each direction.
#![allow(unsafe_code)] // Takes apart a turn that has ended.

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

#[cfg(all(target_os = "linux", feature = "remote"))]
use super::direction::RenderFirstRemote;
use super::direction::{ComputeFirst, Direction, Protocol, RenderFirst};
use super::ledger::{FirstSide, NewFrame};
use super::resources::Resources;
use super::state::State;
use super::turn::compute::ComputeTurn;
use super::turn::parts::TurnParts;
use super::turn::render::RenderTurn;
use crate::error::Result;
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

impl Direction for ComputeFirst {
    type Begun<R: Resources> = ComputeTurn<R, Self>;
    type Submitted<R: Resources> = TimelinePoint;
    type Finished<R: Resources> = RenderTurn<R, Self>;
}

impl Protocol for ComputeFirst {
    const FIRST: FirstSide = FirstSide::Compute;

    fn begin_turn<R: Resources>(shared: &Arc<State<R>>, begun: NewFrame) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::new(Arc::clone(shared), begun.frame, begun.slot, 0);
        match begun.wait {
            Some(value) => shared.enqueue_compute_wait(value)?,
            // No call of this frame has checked for a failure yet.
            None => shared.check_compute()?,
        }
        Ok(turn)
    }

    fn on_submitted<R: Resources>(
        shared: &Arc<State<R>>,
        _: u64,
        _: usize,
        rendered: TimelinePoint,
    ) -> Result<TimelinePoint> {
        shared.record_frame_end(rendered.value());
        Ok(rendered)
    }

    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: TimelinePoint) -> RenderTurn<R, Self> {
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
        // Point 0 is the initial value: the first use of a slot waits for nothing.
        let after = shared.objects.computed.point(begun.wait.unwrap_or(0));
        Ok(RenderTurn::new(Arc::clone(shared), begun.frame, begun.slot, after))
    }

    fn on_submitted<R: Resources>(
        shared: &Arc<State<R>>,
        frame: u64,
        slot: usize,
        rendered: TimelinePoint,
    ) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::new(Arc::clone(shared), frame, slot, rendered.value());
        shared.enqueue_compute_wait(rendered.value())?;
        Ok(turn)
    }

    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: TimelinePoint) -> TimelinePoint {
        turn.shared.record_frame_end(computed.value());
        computed
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
        let after = shared.objects.computed.point(begun.wait.unwrap_or(0));
        Ok(RenderTurn::new(Arc::clone(shared), begun.frame, begun.slot, after))
    }

    /// The thread that acts for the other process notifies it.
    fn on_submitted<R: Resources>(
        _: &Arc<State<R>>,
        _: u64,
        _: usize,
        rendered: TimelinePoint,
    ) -> Result<TimelinePoint> {
        Ok(rendered)
    }

    fn on_finished<R: Resources>(_: TurnParts<R>, computed: TimelinePoint) -> TimelinePoint {
        computed
    }
}
