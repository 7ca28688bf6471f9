//! Differences between the two directions.
#![allow(unsafe_code)] // Submissions.

use bridge::{
    Compute, ComputeFirst, ComputeTurn, Direction, Error, Exchange, ExchangeInfo, FrameGraph, LentTurn, RecordError,
    RenderFirst, RenderTurn, TimelinePoint, Work,
};

use crate::shape::Shape;

/// The result of a call on an exchange or a turn, in either direction.
pub(crate) enum Next<S: Shape, D: Direction> {
    Compute(ComputeTurn<S, D>),
    Render(RenderTurn<S, D>),
    Done(TimelinePoint),
}

impl<S: Shape, D: Direction> Next<S, D> {
    /// Returns the slot of the turn, if any.
    #[allow(dead_code)] // Used by the other targets.
    pub(crate) fn slot(&self) -> Option<usize> {
        match self {
            Self::Compute(turn) => Some(turn.slot()),
            Self::Render(turn) => Some(turn.slot()),
            Self::Done(_) => None,
        }
    }
}

pub(crate) trait DirectionExt: Direction + Sized {
    const VULKAN_FIRST: bool;

    fn open<S: Shape>(compute: &Compute, info: &ExchangeInfo<'_>) -> Result<Exchange<S, Self>, Error>;
    fn begun<S: Shape>(begun: Self::Begun<S>) -> Next<S, Self>;
    fn submitted<S: Shape>(submitted: Self::Submitted<S>) -> Next<S, Self>;
    fn finished<S: Shape>(finished: Self::Finished<S>) -> Next<S, Self>;

    /// Returns the end of the compute work before a render turn, if there is any.
    fn computed<S: Shape>(turn: &RenderTurn<S, Self>) -> Option<TimelinePoint>;

    /// Computes a frame with a graph. Returns `None` if there is no turn for it.
    ///
    /// # Safety
    ///
    /// As `Exchange::compute_with`.
    #[allow(dead_code)] // Used by the other targets.
    unsafe fn compute_with<S: Shape>(
        exchange: &mut Exchange<S, Self>,
        turn: Option<ComputeTurn<S, Self>>,
        graph: &mut FrameGraph<S>,
        record: impl FnOnce(usize, Work<'_, S>) -> Result<(), RecordError>,
    ) -> Option<Result<Next<S, Self>, Error>>;

    /// # Safety
    ///
    /// As `LentTurn::submitted`.
    unsafe fn lent_submitted<S: Shape>(lent: LentTurn<S, Self>) -> Result<Next<S, Self>, Error>;
}

impl DirectionExt for ComputeFirst {
    const VULKAN_FIRST: bool = false;

    fn open<S: Shape>(compute: &Compute, info: &ExchangeInfo<'_>) -> Result<Exchange<S>, Error> {
        Exchange::new(compute, info, S::spec())
    }

    fn begun<S: Shape>(turn: ComputeTurn<S>) -> Next<S, Self> {
        Next::Compute(turn)
    }

    fn submitted<S: Shape>(point: TimelinePoint) -> Next<S, Self> {
        Next::Done(point)
    }

    fn finished<S: Shape>(turn: RenderTurn<S>) -> Next<S, Self> {
        Next::Render(turn)
    }

    fn computed<S: Shape>(turn: &RenderTurn<S>) -> Option<TimelinePoint> {
        Some(turn.computed())
    }

    unsafe fn compute_with<S: Shape>(
        exchange: &mut Exchange<S>,
        _: Option<ComputeTurn<S>>,
        graph: &mut FrameGraph<S>,
        record: impl FnOnce(usize, Work<'_, S>) -> Result<(), RecordError>,
    ) -> Option<Result<Next<S, Self>, Error>> {
        // SAFETY: the same contract.
        Some(unsafe { exchange.compute_with(graph, record) }.map(Next::Render))
    }

    unsafe fn lent_submitted<S: Shape>(lent: LentTurn<S>) -> Result<Next<S, Self>, Error> {
        // SAFETY: the same contract.
        Ok(Next::Done(unsafe { lent.submitted() }))
    }
}

impl DirectionExt for RenderFirst {
    const VULKAN_FIRST: bool = true;

    fn open<S: Shape>(compute: &Compute, info: &ExchangeInfo<'_>) -> Result<Exchange<S, Self>, Error> {
        Exchange::render_first(compute, info, S::spec())
    }

    fn begun<S: Shape>(turn: RenderTurn<S, Self>) -> Next<S, Self> {
        Next::Render(turn)
    }

    fn submitted<S: Shape>(turn: ComputeTurn<S, Self>) -> Next<S, Self> {
        Next::Compute(turn)
    }

    fn finished<S: Shape>(point: TimelinePoint) -> Next<S, Self> {
        Next::Done(point)
    }

    fn computed<S: Shape>(_: &RenderTurn<S, Self>) -> Option<TimelinePoint> {
        None
    }

    unsafe fn compute_with<S: Shape>(
        _: &mut Exchange<S, Self>,
        turn: Option<ComputeTurn<S, Self>>,
        graph: &mut FrameGraph<S>,
        record: impl FnOnce(usize, Work<'_, S>) -> Result<(), RecordError>,
    ) -> Option<Result<Next<S, Self>, Error>> {
        // SAFETY: the same contract.
        Some(unsafe { turn?.compute_with(graph, record) }.map(Next::Done))
    }

    unsafe fn lent_submitted<S: Shape>(lent: LentTurn<S, Self>) -> Result<Next<S, Self>, Error> {
        // SAFETY: the same contract.
        unsafe { lent.submitted() }.map(Next::Compute)
    }
}
