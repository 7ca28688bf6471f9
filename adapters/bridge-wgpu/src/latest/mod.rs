//! Exchanges whose two sides run at independent rates.
#![allow(unsafe_code)] // Hands new images over, and takes handles apart.

pub(crate) mod frame;

use std::mem::ManuallyDrop;

use bridge::{
    ComputeFirst, ComputeRead, ComputeWrite, Direction, KernelMemory, LatestInfo, RenderFirst, Stage, SubmitParts,
};
use bytemuck::Pod;

use crate::device::Bridge;
use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::mirror::{Mirror, initialize};
use crate::mirror_ref::MirrorRef;
use crate::order::Order;
use crate::shared::{Flow, Shared};
use frame::{NewestFrame, WrittenFrame};

/// Returns the parts of a flush of a handle. Only the handle of wgpu's side has this function.
type FlushParts<H> = fn(&mut H) -> bridge::Result<Option<SubmitParts>>;

/// The fields of a handle.
type Fields<H, S> = (H, MirrorRef<S>, Option<FlushParts<H>>);

/// The side of an [`Exchange::latest`] that writes frames: the compute side, or, with
/// [`RenderFirst`], wgpu.
pub struct LatestWriter<S: Shared, D: Direction = ComputeFirst> {
    /// Taken when this is dropped.
    writer: ManuallyDrop<bridge::LatestWriter<S::Specs, D>>,
    mirror: MirrorRef<S>,
    flush: Option<FlushParts<bridge::LatestWriter<S::Specs, D>>>,
}

/// The side of an [`Exchange::latest`] that reads the newest frame: wgpu, or, with [`RenderFirst`],
/// the compute side.
pub struct LatestReader<S: Shared, D: Direction = ComputeFirst> {
    /// Taken when this is dropped.
    reader: ManuallyDrop<bridge::LatestReader<S::Specs, D>>,
    mirror: MirrorRef<S>,
    flush: Option<FlushParts<bridge::LatestReader<S::Specs, D>>>,
}

impl<S: Shared> Exchange<S, ComputeFirst> {
    /// Creates two handles for two sides that run at independent rates, like
    /// [`bridge::Exchange::latest`]: the compute side publishes frames, wgpu reads the newest one
    /// at any time, and neither waits for the other.
    ///
    /// ```no_run
    /// use bridge_wgpu::{Bridge, Exchange, LatestInfo, SharedTexture, Work, wgpu};
    ///
    /// # fn frames(
    /// #     bridge: &Bridge,
    /// #     drawing: impl Fn() -> wgpu::CommandBuffer,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let usage = wgpu::TextureUsages::TEXTURE_BINDING;
    /// let picture = SharedTexture::<[u8; 4]>::new(
    ///     wgpu::TextureFormat::Rgba8Unorm,
    ///     [512, 512],
    ///     usage,
    /// );
    /// let (mut writer, mut reader) =
    ///     Exchange::latest(bridge, &LatestInfo::default(), picture)?;
    /// // The same in every frame.
    /// let texture = reader.objects().clone();
    /// std::thread::spawn(move || -> Result<(), bridge_wgpu::Error> {
    ///     loop {
    ///         let mut turn = writer.begin()?;
    ///         if let Work::Host(host) = turn.work() {
    ///             host.run(|mut picture| {
    ///                 picture.rows_mut().for_each(|row| row.fill([255; 4]))
    ///             })?;
    ///         }
    ///         turn.publish()?;
    ///     }
    /// });
    /// loop {
    ///     // The newest finished frame is in `texture` before `drawing` runs; before
    ///     // the first, nothing is.
    ///     bridge.submit([drawing()], reader.newest()?)?;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`bridge::Exchange::latest`], and [`Error::Refused`](crate::Error::Refused) for
    /// usages that wgpu does not accept.
    pub fn latest(
        gpu: &Bridge,
        info: &LatestInfo<'_>,
        shared: S,
    ) -> Result<(LatestWriter<S, ComputeFirst>, LatestReader<S, ComputeFirst>)> {
        let (specs, mirror) = Mirror::new(gpu, Flow::In, info.name, info.timeout, shared, Order::default())?;
        let (writer, reader) = bridge::Exchange::latest(gpu.compute(), info, specs)?;
        let mirror = MirrorRef::new(mirror(writer.slots()));
        let writer = LatestWriter { writer: ManuallyDrop::new(writer), mirror: mirror.beside(), flush: None };
        let flush: FlushParts<_> = bridge::LatestReader::flush_parts;
        let mut reader = LatestReader { reader: ManuallyDrop::new(reader), mirror, flush: Some(flush) };
        reader.initialize()?;
        Ok((writer, reader))
    }
}

impl<S: Shared> Exchange<S, RenderFirst> {
    /// Like [`Exchange::latest`], for frames that wgpu writes: the compute side works on the newest
    /// frame that was drawn.
    ///
    /// # Errors
    /// Those of [`Exchange::latest`].
    pub fn latest_render_first(
        gpu: &Bridge,
        info: &LatestInfo<'_>,
        shared: S,
    ) -> Result<(LatestWriter<S, RenderFirst>, LatestReader<S, RenderFirst>)> {
        let (specs, mirror) = Mirror::new(gpu, Flow::Out, info.name, info.timeout, shared, Order::default())?;
        let (writer, reader) = bridge::Exchange::latest_render_first(gpu.compute(), info, specs)?;
        let mirror = MirrorRef::new(mirror(writer.slots()));
        let flush: FlushParts<_> = bridge::LatestWriter::flush_parts;
        let reader = LatestReader { reader: ManuallyDrop::new(reader), mirror: mirror.beside(), flush: None };
        let mut writer = LatestWriter { writer: ManuallyDrop::new(writer), mirror, flush: Some(flush) };
        if writer.writer.needs_initial() {
            // SAFETY: `initialize` submits the recorded commands or drops the turn.
            initialize(&writer.mirror, |commands| unsafe { writer.writer.record_initial(commands) })?;
        }
        Ok((writer, reader))
    }
}

impl<S: Shared, D: Direction> LatestWriter<S, D> {
    /// Returns wgpu's objects, like [`Exchange::objects`].
    pub fn objects(&self) -> &S::Objects {
        &self.mirror.objects
    }

    /// Ends the exchange: waits for the work of both sides and frees the slots, as dropping both
    /// handles does, and returns the error, which a drop only logs.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for the reader of another
    /// exchange, and while a frame of wgpu's is open; the exchange then ends with the last frame.
    /// Otherwise those of [`bridge::LatestWriter::close`], as for [`Exchange::close`].
    pub fn close(self, reader: LatestReader<S, D>) -> Result<()> {
        if !self.mirror.is_same(&reader.mirror) {
            let reason = format!("it was closed with the reader of exchange \"{}\"", reader.mirror.name);
            return Err(Error::invalid(format!("the writer of exchange \"{}\"", self.mirror.name), reason));
        }
        let (writer, of_writer, flush_writer) = self.into_fields();
        let (reader, of_reader, flush_reader) = reader.into_fields();
        // wgpu's side ends the exchange.
        let mirror = if flush_writer.is_some() { of_writer } else { of_reader };
        let flush = move |(writer, reader): &mut (_, _)| match (flush_writer, flush_reader) {
            (Some(flush), _) => flush(writer),
            (_, Some(flush)) => flush(reader),
            (None, None) => Ok(None),
        };
        mirror.close((writer, reader), flush, |(writer, reader)| writer.close(reader))
    }

    /// Returns the fields, without ending the exchange.
    fn into_fields(self) -> Fields<bridge::LatestWriter<S::Specs, D>, S> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the value is not used again: `this` is not dropped.
        let writer = unsafe { ManuallyDrop::take(&mut this.writer) };
        // SAFETY: the field is initialized, and read once: `this` is not dropped.
        let mirror = unsafe { std::ptr::read(&raw const this.mirror) };
        (writer, mirror, this.flush)
    }
}

impl<S: Shared> LatestWriter<S, ComputeFirst> {
    /// Begins a frame, like [`bridge::LatestWriter::begin`]: it waits for the writer's own oldest
    /// frame if too many are unfinished, but never for wgpu.
    ///
    /// # Errors
    /// Those of [`bridge::LatestWriter::begin`]. [`bridge::Error::SlotsRetired`] lasts until the
    /// reader's next [`newest`](LatestReader::newest), which recovers the slots.
    pub fn begin(&mut self) -> Result<ComputeWrite<S::Specs>> {
        Ok(self.writer.begin()?)
    }

    /// Creates device memory for the state of kernels, as [`Bridge::kernel_memory`], for launches
    /// in this writer's frames.
    ///
    /// # Errors
    /// Those of [`Compute::kernel_memory`](bridge::Compute::kernel_memory).
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        Ok(self.writer.compute().kernel_memory(name, contents)?)
    }
}

impl<S: Shared> LatestWriter<S, RenderFirst> {
    /// Begins a frame that wgpu writes, for [`Bridge::submit`].
    ///
    /// # Errors
    /// Those of [`bridge::LatestWriter::begin`]. If failed submissions have left no free slot, this
    /// waits for the queue and then begins the frame, or returns
    /// [`Error::HostWait`](crate::Error::HostWait).
    pub fn begin(&mut self) -> Result<WrittenFrame<S>> {
        let Self { writer, mirror, .. } = self;
        let turn = match writer.begin() {
            Err(bridge::Error::TurnLost { stage: Stage::Submit, .. }) => {
                mirror.recover(|| writer.flush_parts())?;
                writer.begin()?
            }
            begun => begun?,
        };
        Ok(WrittenFrame::new(turn, mirror.clone()))
    }
}

impl<S: Shared, D: Direction> LatestReader<S, D> {
    /// Returns wgpu's objects, like [`Exchange::objects`].
    pub fn objects(&self) -> &S::Objects {
        &self.mirror.objects
    }

    /// Like [`LatestWriter::into_fields`].
    fn into_fields(self) -> Fields<bridge::LatestReader<S::Specs, D>, S> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: the value is not used again: `this` is not dropped.
        let reader = unsafe { ManuallyDrop::take(&mut this.reader) };
        // SAFETY: the field is initialized, and read once: `this` is not dropped.
        let mirror = unsafe { std::ptr::read(&raw const this.mirror) };
        (reader, mirror, this.flush)
    }
}

impl<S: Shared> LatestReader<S, ComputeFirst> {
    /// Returns the newest frame, for [`Bridge::submit`], which is the previous one again if there
    /// is none newer; `None` before the first frame, which [`Bridge::submit`] also accepts. Never
    /// blocks.
    ///
    /// Calls [`initialize`](Self::initialize) first, which recovers the slots of frames whose
    /// submission failed.
    ///
    /// # Errors
    /// Those of [`bridge::LatestReader::newest`] and [`initialize`](Self::initialize).
    pub fn newest(&mut self) -> Result<Option<NewestFrame<S>>> {
        self.initialize()?;
        Ok(self.reader.newest()?.map(|turn| NewestFrame::new(turn, self.mirror.clone())))
    }
}

impl<S: Shared> LatestReader<S, ComputeFirst> {
    /// Recovers the slots that are [out of use](Self::retired) because wgpu reported an error and
    /// did not say whether their frame was submitted. Submits commands that hand them over to the
    /// compute side; their contents are lost. Does not block, and does nothing if no slot is out of
    /// use.
    ///
    /// [`newest`](Self::newest) calls this. Call it yourself only in a reader that pauses.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost), and errors that wgpu reports during the
    /// submission; the slots stay out of use, and this can be called again.
    pub fn initialize(&mut self) -> Result<()> {
        let Self { reader, mirror, .. } = self;
        if !reader.needs_initial() && reader.retired() == 0 {
            return Ok(());
        }
        // SAFETY: `initialize` submits the recorded commands or drops the turn.
        initialize(mirror, |commands| unsafe { reader.record_initial(commands) })
    }

    /// Returns the number of slots that are out of use because a submission failed and wgpu did not
    /// report whether it was made; [`initialize`](Self::initialize) recovers them.
    pub fn retired(&self) -> usize {
        self.reader.retired()
    }
}

impl<S: Shared> LatestReader<S, RenderFirst> {
    /// Returns the newest frame that wgpu has drawn, which is the previous one again if there is
    /// none newer; `None` before the first frame. Never blocks.
    ///
    /// # Errors
    /// Those of [`bridge::LatestReader::newest`].
    pub fn newest(&mut self) -> Result<Option<ComputeRead<S::Specs>>> {
        Ok(self.reader.newest()?)
    }

    /// Creates device memory for the state of kernels, as [`Bridge::kernel_memory`], for launches
    /// in this reader's frames.
    ///
    /// # Errors
    /// Those of [`Compute::kernel_memory`](bridge::Compute::kernel_memory).
    pub fn kernel_memory<T: Pod>(&self, name: &str, contents: &[T]) -> Result<KernelMemory<T>> {
        Ok(self.reader.compute().kernel_memory(name, contents)?)
    }
}

impl<S: Shared, D: Direction> Drop for LatestWriter<S, D> {
    fn drop(&mut self) {
        // SAFETY: the value is not used again.
        let writer = unsafe { ManuallyDrop::take(&mut self.writer) };
        match self.flush {
            Some(flush) => self.mirror.leave(writer, flush),
            None => self.mirror.free(writer),
        }
    }
}

impl<S: Shared, D: Direction> Drop for LatestReader<S, D> {
    fn drop(&mut self) {
        // SAFETY: the value is not used again.
        let reader = unsafe { ManuallyDrop::take(&mut self.reader) };
        match self.flush {
            Some(flush) => self.mirror.leave(reader, flush),
            None => self.mirror.free(reader),
        }
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for LatestWriter<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.writer.fmt(f)
    }
}

impl<S: Shared, D: Direction> std::fmt::Debug for LatestReader<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.reader.fmt(f)
    }
}
