//! The side that begins a frame.

use std::sync::Arc;
use std::time::Duration;

use super::ledger::{FirstSide, NewFrame};
use super::state::State;
use super::turn_parts::TurnParts;
use crate::error::Result;
use crate::resources::Resources;
#[cfg(doc)]
use crate::timeline::TimelinePoint;

/// The side that begins a frame: [`ComputeFirst`], [`RenderFirst`], or `RenderFirstRemote` for a
/// worker in step. This trait is sealed.
#[allow(private_bounds)] // Closed on purpose.
pub trait Direction: Protocol + 'static {
    /// Type that [`Exchange::begin`](crate::Exchange::begin) returns.
    type Begun<R: Resources>;
    /// Type that submitting a [`RenderTurn`](crate::RenderTurn) returns.
    type Submitted<R: Resources>;
    /// Type that finishing a [`ComputeTurn`](crate::ComputeTurn) returns.
    type Finished<R: Resources>;
}

/// The compute side writes a slot and Vulkan renders from it: [`ComputeTurn`](crate::ComputeTurn),
/// then [`RenderTurn`](crate::RenderTurn), then a [`TimelinePoint`].
///
/// Several frames may be computed before the first of them is submitted, one per slot.
#[derive(Debug, Clone, Copy)]
pub enum ComputeFirst {}

/// Vulkan writes a slot and the compute side works on it: [`RenderTurn`](crate::RenderTurn), then
/// [`ComputeTurn`](crate::ComputeTurn), then a [`TimelinePoint`].
///
/// On the host, only one frame can be between `begin` and `finish`; on the GPU, as many as there
/// are slots.
#[derive(Debug, Clone, Copy)]
pub enum RenderFirst {}

/// Vulkan writes a slot and another process works on it: [`RenderTurn`](crate::RenderTurn), then a
/// [`TimelinePoint`]. The direction of [`RemoteExchangeWriter`](crate::RemoteExchangeWriter).
#[cfg(all(target_os = "linux", feature = "remote"))]
#[derive(Debug, Clone, Copy)]
pub enum RenderFirstRemote {}

/// The steps after one side has done its part, which depend on the direction.
pub(super) trait Protocol {
    const FIRST: FirstSide;

    fn begin_turn<R: Resources>(shared: &Arc<State<R>>, begun: NewFrame) -> Result<Self::Begun<R>>
    where
        Self: Direction;

    /// Passes a frame on whose submission signals the value `rendered`. If the side that uses it
    /// next refuses it, blocks until the commands have ended, for at most `limit`.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout) if the commands may still run; after any other
    /// error nothing of the frame runs.
    fn on_submitted<R: Resources>(turn: TurnParts<R>, rendered: u64, limit: Duration) -> Result<Self::Submitted<R>>
    where
        Self: Direction;

    /// Passes a frame on whose computation ends with the signal of the value `computed`.
    fn on_finished<R: Resources>(turn: TurnParts<R>, computed: u64) -> Self::Finished<R>
    where
        Self: Direction;
}
