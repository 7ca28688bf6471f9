//! The exchange: slots that cycle between the compute side and wgpu.
#![allow(unsafe_code)] // Hands new images over, and takes itself apart.

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
    /// Creates the slots and wgpu's objects, for frames that the compute side begins.
    ///
    /// # Errors
    /// Those of [`bridge::Exchange::new`], and [`Error::Refused`](crate::Error::Refused) for usages
    /// that wgpu does not accept.
    pub fn new(gpu: &Bridge, info: &ExchangeInfo<'_>, shared: S) -> Result<Self> {
        let (specs, mirror) = Mirror::new(gpu, Flow::In, info.name, info.timeout, shared, Order::default())?;
        Self::initialized(bridge::Exchange::new(gpu.compute(), info, specs)?, mirror)
    }

    /// Begins a frame. The compute side waits on the GPU until wgpu no longer uses the slot.
    ///
    /// # Errors
    /// Those of [`bridge::Exchange::begin`]. If failed submissions have left no free slot, this
    /// waits for the queue and then begins the frame, or returns
    /// [`Error::HostWait`](crate::Error::HostWait).
    pub fn begin(&mut self) -> Result<ComputeTurn<S>> {
        let turn = self.begun(bridge::Exchange::begin)?;
        Ok(ComputeTurn::new(turn, self.mirror.clone()))
    }
}

impl<S: Shared> Exchange<S, RenderFirst> {
    /// Like [`Exchange::new`], for frames that wgpu begins: wgpu draws, and the compute side works
    /// on the result.
    ///
    /// # Errors
    /// Those of [`Exchange::new`].
    pub fn render_first(gpu: &Bridge, info: &ExchangeInfo<'_>, shared: S) -> Result<Self> {
        let (specs, mirror) = Mirror::new(gpu, Flow::Out, info.name, info.timeout, shared, Order::default())?;
        Self::initialized(bridge::Exchange::render_first(gpu.compute(), info, specs)?, mirror)
    }

    /// Begins a frame, with a slot into which [`Bridge::submit`] copies the objects.
    ///
    /// # Errors
    /// Those of [`bridge::Exchange::begin`]. If failed submissions have left no free slot, this
    /// waits for the queue and then begins the frame, or returns
    /// [`Error::HostWait`](crate::Error::HostWait).
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

    /// Hands over new images, if any, to the compute side, through wgpu's queue.
    pub(crate) fn hand_over(&mut self) -> Result<()> {
        let Self { exchange, mirror } = self;
        if !exchange.needs_initial() {
            return Ok(());
        }
        // SAFETY: `initialize` submits the recorded commands or drops the turn.
        initialize(mirror, |commands| unsafe { exchange.record_initial(commands) })
    }

    /// Begins a frame. If frames for which wgpu did not report whether they were submitted have
    /// left no slot, submits a signal that proves their end, waits for it and tries again.
    fn begun<T>(&mut self, begin: impl Fn(&mut bridge::Exchange<S::Specs, D>) -> bridge::Result<T>) -> Result<T> {
        self.hand_over()?;
        let begun = begin(&mut self.exchange);
        if let Err(bridge::Error::TurnLost { stage: Stage::Submit, .. }) = begun {
            self.recover()?;
            return Ok(begin(&mut self.exchange)?);
        }
        Ok(begun?)
    }

    /// Submits a signal after frames for which wgpu did not report whether they were submitted, and
    /// waits for the signal, which proves that they have ended.
    pub(crate) fn recover(&mut self) -> Result<()> {
        self.mirror.recover(|| self.exchange.flush_parts())
    }

    /// Returns the wgpu objects: a [`wgpu::Buffer`], a [`wgpu::Texture`], or a tuple of them. They
    /// stay the same in every frame, until they are [replaced](Self::replace). Resources that wgpu
    /// uses directly in the slots have no objects here; [`Frame::objects`] lends those.
    ///
    /// They are ordinary wgpu objects and can be used in any submission. They contain a frame's
    /// results after that frame has been submitted.
    pub fn objects(&self) -> &S::Objects {
        &self.mirror.objects
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.exchange.slots()
    }

    /// Returns the exchange's name.
    pub fn name(&self) -> &str {
        self.exchange.name()
    }

    /// Ends the exchange: waits for the frames in flight and frees the slots, as dropping it does,
    /// and returns the error, which a drop only logs. The [`objects`](Self::objects) belong to wgpu
    /// and can be kept longer.
    ///
    /// In a callback that wgpu calls while frames are submitted, this may leave the end to the
    /// thread that is submitting a frame of the exchange, which then logs the error.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) while a turn or frame is open; the
    /// exchange then ends with the last of them. Otherwise those of [`bridge::Exchange::close`]:
    /// the resources are then leaked on purpose, and so is wgpu's queue, whose end would wait for
    /// the same work without a limit.
    pub fn close(self) -> Result<()> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the value is not used again: `this` is not dropped.
        let exchange = unsafe { ManuallyDrop::take(&mut this.exchange) };
        // SAFETY: the field is initialized, and read once: `this` is not dropped.
        let mirror = unsafe { std::ptr::read(&raw const this.mirror) };
        mirror.close(exchange, bridge::Exchange::flush_parts, bridge::Exchange::close)
    }
}

impl<S: Shared, D: Direction> Drop for Exchange<S, D> {
    fn drop(&mut self) {
        // SAFETY: the value is not used again.
        let exchange = unsafe { ManuallyDrop::take(&mut self.exchange) };
        self.mirror.leave(exchange, bridge::Exchange::flush_parts);
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for Exchange<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.exchange.fmt(f)
    }
}
