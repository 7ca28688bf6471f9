//! The exchange: slots that go round between the compute side and wgpu.
#![allow(unsafe_code)] // Hands new images over.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use bridge::{ComputeFirst, Direction, ExchangeInfo, RenderFirst, Stage};

use crate::device::Bridge;
use crate::error::Result;
use crate::frame::Frame;
use crate::mirror::{Mirror, initialize};
use crate::mirror_ref::MirrorRef;
use crate::order::Order;
use crate::shared::{Flow, Shared};
use crate::turn::ComputeTurn;

/// A ring of slots that cycle between the compute side and wgpu, with the wgpu objects through
/// which wgpu accesses their contents.
///
/// With [`Exchange::new`] the compute side begins: [`begin`](Exchange::begin) returns a
/// [`ComputeTurn`], which becomes a [`Frame`] that is [submitted](Bridge::submit). With
/// [`Exchange::render_first`] wgpu begins: a [`Frame`] is submitted and becomes a [`ComputeTurn`].
///
/// Dropping it waits for the frames in flight, like dropping a [`bridge::Exchange`]. If it is
/// dropped in a callback that wgpu calls while one of its frames is submitted, that call of
/// [`submit`](Bridge::submit) does the waiting. The [`objects`](Self::objects) belong to wgpu and
/// can be cloned and kept longer.
pub struct Exchange<S: Shared, D: Direction = ComputeFirst> {
    /// Taken when this is dropped.
    pub(crate) exchange: ManuallyDrop<bridge::Exchange<S::Specs, D>>,
    pub(crate) mirror: MirrorRef<S>,
}

impl<S: Shared> Exchange<S, ComputeFirst> {
    /// Makes the slots, and wgpu's objects, for frames that the compute side begins.
    ///
    /// # Errors
    /// As [`bridge::Exchange::new`], and [`Error::Refused`](crate::Error::Refused) for usages that
    /// wgpu does not accept.
    pub fn new(gpu: &Bridge, info: &ExchangeInfo<'_>, shared: S) -> Result<Self> {
        let (specs, mirror) = Mirror::new(gpu, Flow::In, info.name, info.timeout, shared, Order::default())?;
        Self::initialized(bridge::Exchange::new(gpu.compute(), info, specs)?, mirror)
    }

    /// Begins a frame. The compute side waits on the GPU until wgpu no longer uses the slot.
    ///
    /// # Errors
    /// As [`bridge::Exchange::begin`]. If failed submissions have left no free slot, this waits for
    /// the queue and then begins the frame, or returns [`Error::HostWait`](crate::Error::HostWait).
    pub fn begin(&mut self) -> Result<ComputeTurn<S>> {
        let turn = self.begun(bridge::Exchange::begin)?;
        Ok(ComputeTurn::new(turn, self.mirror.clone()))
    }
}

impl<S: Shared> Exchange<S, RenderFirst> {
    /// [`Exchange::new`] for frames that wgpu begins: it draws, the compute side works on the
    /// result.
    ///
    /// # Errors
    /// As [`Exchange::new`].
    pub fn render_first(gpu: &Bridge, info: &ExchangeInfo<'_>, shared: S) -> Result<Self> {
        let (specs, mirror) = Mirror::new(gpu, Flow::Out, info.name, info.timeout, shared, Order::default())?;
        Self::initialized(bridge::Exchange::render_first(gpu.compute(), info, specs)?, mirror)
    }

    /// Begins a frame, which takes a slot for what [`Bridge::submit`] copies out.
    ///
    /// # Errors
    /// As [`bridge::Exchange::begin`]. Where failed submissions have left no slot, it waits for the
    /// queue and begins all the same, or is [`Error::HostWait`](crate::Error::HostWait).
    pub fn begin(&mut self) -> Result<Frame<S, RenderFirst>> {
        let turn = self.begun(bridge::Exchange::begin)?;
        Ok(Frame::new(turn, self.mirror.clone()))
    }
}

impl<S: Shared, D: Direction> Exchange<S, D> {
    fn initialized(
        exchange: bridge::Exchange<S::Specs, D>,
        mirror: impl FnOnce(usize) -> Arc<Mirror<S>>,
    ) -> Result<Self> {
        let mirror = MirrorRef::new(mirror(exchange.slots()));
        let mut this = Self { exchange: ManuallyDrop::new(exchange), mirror };
        this.hand_over()?;
        Ok(this)
    }

    /// Hands new images over to the compute side, through wgpu's queue, if there are any.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        let Self { exchange, mirror } = self;
        if !exchange.needs_initial() {
            return Ok(());
        }
        // SAFETY: `initialize` submits what is recorded, or drops the turn.
        initialize(mirror, |commands| unsafe { exchange.record_initial(commands) })
    }

    /// Begins a frame: once more where frames of which wgpu did not tell whether they were
    /// submitted have left no slot, behind a signal that proves their end.
    fn begun<T>(&mut self, begin: impl Fn(&mut bridge::Exchange<S::Specs, D>) -> bridge::Result<T>) -> Result<T> {
        self.hand_over()?;
        let begun = begin(&mut self.exchange);
        if let Err(bridge::Error::TurnLost { stage: Stage::Submit, .. }) = begun {
            self.recover()?;
            return Ok(begin(&mut self.exchange)?);
        }
        Ok(begun?)
    }

    /// Submits a signal behind frames of which wgpu did not tell whether they were submitted, and
    /// waits for it: they have ended then.
    pub(crate) fn recover(&mut self) -> Result<()> {
        self.mirror.recover(|| self.exchange.flush_parts())
    }

    /// Returns the wgpu objects: a [`wgpu::Buffer`], a [`wgpu::Texture`], or a tuple of them. They
    /// stay the same in every frame, until they are [replaced](Self::replace). Resources that wgpu
    /// uses directly in the slots have none here; [`Frame::objects`] lends those.
    ///
    /// They are ordinary wgpu objects and can be used in any submission. They contain a frame's
    /// results after that frame has been submitted.
    pub fn objects(&self) -> &S::Objects {
        &self.mirror.objects
    }

    /// Slots.
    pub fn slots(&self) -> usize {
        self.exchange.slots()
    }

    /// Returns the exchange's name.
    pub fn name(&self) -> &str {
        self.exchange.name()
    }
}

impl<S: Shared, D: Direction> Drop for Exchange<S, D> {
    fn drop(&mut self) {
        // SAFETY: nothing uses it any more.
        let exchange = unsafe { ManuallyDrop::take(&mut self.exchange) };
        self.mirror.leave(exchange, bridge::Exchange::flush_parts);
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for Exchange<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchange.fmt(f)
    }
}
