//! Which side begins a frame.

use std::sync::Arc;

use super::compute_turn::ComputeTurn;
use super::ledger::{Begun, First};
use super::render_turn::RenderTurn;
use super::resources::Resources;
use super::state::Shared;
use crate::error::Result;
use crate::timeline::TimelinePoint;

/// Which side begins a frame: [`ComputeFirst`] or [`RenderFirst`]. The trait is closed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Direction: Protocol + 'static {
    /// What [`Exchange::begin`](crate::Exchange::begin) gives.
    type Begun<R: Resources>;
    /// What submitting a [`RenderTurn`] gives.
    type Submitted<R: Resources>;
    /// What finishing a [`ComputeTurn`] gives.
    type Finished<R: Resources>;
}

/// The compute side fills a slot, Vulkan draws it: [`ComputeTurn`], then [`RenderTurn`], then a [`TimelinePoint`].
///
/// Several frames may be computed before the first of them is submitted, one a slot.
#[derive(Debug, Clone, Copy)]
pub enum ComputeFirst {}

/// Vulkan fills a slot, the compute side works on it: [`RenderTurn`], then [`ComputeTurn`], then a [`TimelinePoint`].
///
/// One frame at a time is between `begin` and `finish` on the host; on the GPU, as many as there are slots.
#[derive(Debug, Clone, Copy)]
pub enum RenderFirst {}

/// What the two directions do differently, where one side has done its part.
pub(super) trait Protocol {
    const FIRST: First;

    fn begun<R: Resources>(shared: &Arc<Shared<R>>, begun: Begun) -> Result<Self::Begun<R>>
    where
        Self: Direction;

    fn submitted<R: Resources>(
        shared: &Arc<Shared<R>>,
        frame: u64,
        slot: usize,
        rendered: TimelinePoint,
    ) -> Result<Self::Submitted<R>>
    where
        Self: Direction;

    fn finished<R: Resources>(
        shared: &Arc<Shared<R>>,
        frame: u64,
        slot: usize,
        computed: TimelinePoint,
    ) -> Self::Finished<R>
    where
        Self: Direction;
}

impl Direction for ComputeFirst {
    type Begun<R: Resources> = ComputeTurn<R, Self>;
    type Submitted<R: Resources> = TimelinePoint;
    type Finished<R: Resources> = RenderTurn<R, Self>;
}

impl Protocol for ComputeFirst {
    const FIRST: First = First::Compute;

    fn begun<R: Resources>(shared: &Arc<Shared<R>>, begun: Begun) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::new(Arc::clone(shared), begun.frame, begun.slot, 0);
        if let Some(value) = begun.wait {
            shared.compute_waits(value)?;
        }
        Ok(turn)
    }

    fn submitted<R: Resources>(
        shared: &Arc<Shared<R>>,
        _: u64,
        _: usize,
        rendered: TimelinePoint,
    ) -> Result<TimelinePoint> {
        shared.pace().note(rendered.value());
        Ok(rendered)
    }

    fn finished<R: Resources>(
        shared: &Arc<Shared<R>>,
        frame: u64,
        slot: usize,
        computed: TimelinePoint,
    ) -> RenderTurn<R, Self> {
        RenderTurn::new(Arc::clone(shared), frame, slot, computed)
    }
}

impl Direction for RenderFirst {
    type Begun<R: Resources> = RenderTurn<R, Self>;
    type Submitted<R: Resources> = ComputeTurn<R, Self>;
    type Finished<R: Resources> = TimelinePoint;
}

impl Protocol for RenderFirst {
    const FIRST: First = First::Render;

    fn begun<R: Resources>(shared: &Arc<Shared<R>>, begun: Begun) -> Result<RenderTurn<R, Self>> {
        // Point 0 is where a timeline starts: the first use of a slot waits for nothing.
        let after = shared.computed.issued(begun.wait.unwrap_or(0));
        Ok(RenderTurn::new(Arc::clone(shared), begun.frame, begun.slot, after))
    }

    fn submitted<R: Resources>(
        shared: &Arc<Shared<R>>,
        frame: u64,
        slot: usize,
        rendered: TimelinePoint,
    ) -> Result<ComputeTurn<R, Self>> {
        let turn = ComputeTurn::new(Arc::clone(shared), frame, slot, rendered.value());
        shared.compute_waits(rendered.value())?;
        Ok(turn)
    }

    fn finished<R: Resources>(shared: &Arc<Shared<R>>, _: u64, _: usize, computed: TimelinePoint) -> TimelinePoint {
        shared.pace().note(computed.value());
        computed
    }
}
