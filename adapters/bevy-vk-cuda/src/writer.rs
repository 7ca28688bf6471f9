//! The side that computes frames.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bridge::{Compute, HostWork, LatestWriter, TimelinePoint, Work};

use crate::content::Content;
use crate::error::{Error, Result};
use crate::fault::Receiver;
use crate::upload::{Job, Uploader};

/// The writer of the frames of a [`CudaImage`](crate::CudaImage) or a
/// [`CudaBuffer`](crate::CudaBuffer), used in a system or on a separate thread.
pub struct CudaWriter<R: Content> {
    side: Side<R>,
    width: usize,
    receiver: Receiver,
    presented: Arc<AtomicU64>,
}

enum Side<R: Content> {
    Shared {
        writer: LatestWriter<R>,
        /// The end points of frames that were unfinished at the last check.
        unfinished: VecDeque<TimelinePoint>,
        /// Signals to the presenting side that there is a writer. Dropped after it.
        _held: Arc<()>,
    },
    Upload(Uploader<R::Item>),
}

/// The maximum number of unfinished frames.
pub(crate) const WRITER_IN_FLIGHT: usize = 2;

/// A frame to compute.
#[non_exhaustive]
pub enum Frame<'w, R: Content> {
    /// A frame to compute on the CUDA stream of this resource: use `Work::kernels` for launches, or
    /// `Work::Cuda` for cudarc.
    Cuda(Work<'w, R>),
    /// A frame to compute on the CPU, by a closure that runs on a separate thread of this resource.
    Cpu(CpuFrame<'w, R>),
}

/// A frame that the CPU computes.
pub struct CpuFrame<'w, R: Content> {
    side: CpuSide<'w, R>,
    width: usize,
    ran: &'w mut bool,
}

enum CpuSide<'w, R: Content> {
    Shared(HostWork<'w, R>),
    /// The place for the closure, until the frame is known to succeed.
    Upload(&'w mut Option<Job<R::Item>>),
}

impl<R: Content> CpuFrame<'_, R> {
    /// Enqueues the closure that computes the frame, and returns. The memory passed to the closure
    /// contains an older frame or, in the first frames, undefined values: the closure has to write
    /// all of it.
    ///
    /// # Errors
    /// An error if the thread has failed because an earlier closure panicked.
    pub fn run(self, work: impl for<'a> FnOnce(R::Cpu<'a>) + Send + 'static) -> Result<()> {
        match self.side {
            CpuSide::Shared(host) => host.run(move |host| work(R::of_host(host)))?,
            CpuSide::Upload(job) => {
                let width = self.width;
                *job = Some(Box::new(move |items| work(R::of_items(items, width))));
            }
        }
        *self.ran = true;
        Ok(())
    }
}

impl<R: Content> CudaWriter<R> {
    pub(crate) fn shared(
        writer: LatestWriter<R>,
        held: Arc<()>,
        receiver: Receiver,
        presented: Arc<AtomicU64>,
    ) -> Self {
        Self { side: Side::Shared { writer, unfinished: VecDeque::new(), _held: held }, width: 0, receiver, presented }
    }

    pub(crate) fn upload(
        uploader: Uploader<R::Item>,
        width: usize,
        receiver: Receiver,
        presented: Arc<AtomicU64>,
    ) -> Self {
        Self { side: Side::Upload(uploader), width, receiver, presented }
    }

    /// Begins a frame, calls `compute` to enqueue its work, and publishes it. Bevy shows the frame
    /// once it is finished.
    ///
    /// Returns `true` if a frame was published. Returns `false` without calling `compute` while two
    /// frames are unfinished, so that a system does not wait for a slow kernel. Also returns
    /// `false` if the CPU computes and `compute` does not call [`CpuFrame::run`]: that frame is
    /// skipped, as is one for which `compute` returns an error. With CUDA, a frame is published
    /// even if `compute` enqueues nothing.
    ///
    /// The first launch of a kernel may block: CUDA's driver loads the kernel then, and waits until
    /// no stream of the context is waiting, which includes those of other images and buffers. See
    /// [`Cuda::load`](crate::Cuda::load).
    ///
    /// # Errors
    /// - The error of `compute`, and the errors of [`LatestWriter::begin`] and `publish`.
    /// - [`Error::Panicked`], or the corresponding error of the bridge, after a closure on the CPU
    ///   has panicked.
    /// - [`Error::NotPresented`], without calling `compute`, while frames do not reach Bevy. Bevy
    ///   keeps the last complete frame. The condition ends once the step that failed succeeds: a
    ///   compatible asset was inserted, memory could be allocated, or Bevy renders again after its
    ///   `RenderErrorHandler` has stopped it. While the asset is missing, nothing is retried. A
    ///   program that continues meanwhile can treat this error like `false`.
    /// - [`Error::Dropped`], without calling `compute`, if nothing shows the frames any more: the
    ///   program has dropped the `CudaImage` or `CudaBuffer` from which the writer was taken, or
    ///   Bevy's `App`.
    ///
    /// Bevy's default error handler ends the program for a system that returns one of these.
    pub fn write<E: From<Error>>(
        &mut self,
        compute: impl FnOnce(Frame<'_, R>) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        self.receiver.check()?;
        let width = self.width;
        match &mut self.side {
            Side::Shared { writer, unfinished, .. } => {
                if left(unfinished)? >= WRITER_IN_FLIGHT {
                    return Ok(false);
                }
                let mut turn = writer.begin().map_err(Error::from)?;
                let mut ran = false;
                let computed = match turn.work() {
                    Work::Host(host) => {
                        compute(Frame::Cpu(CpuFrame { side: CpuSide::Shared(host), width, ran: &mut ran }))
                    }
                    work => {
                        ran = true;
                        compute(Frame::Cuda(work))
                    }
                };
                if computed.is_err() || !ran {
                    turn.skip().map_err(Error::from)?;
                    return computed.map(|()| false);
                }
                unfinished.push_back(turn.publish().map_err(Error::from)?);
                Ok(true)
            }
            Side::Upload(uploader) => {
                if !uploader.is_ready()? {
                    return Ok(false);
                }
                let (mut ran, mut job) = (false, None);
                compute(Frame::Cpu(CpuFrame { side: CpuSide::Upload(&mut job), width, ran: &mut ran }))?;
                let Some(job) = job else { return Ok(false) };
                uploader.run(job)?;
                Ok(true)
            }
        }
    }

    /// Returns the number of unfinished frames.
    #[cfg(test)]
    pub(crate) fn unfinished(&mut self) -> Result<usize> {
        match &mut self.side {
            Side::Shared { unfinished, .. } => left(unfinished),
            Side::Upload(_) => unreachable!("nothing asks for it"),
        }
    }

    /// Returns the number of frames that Bevy has received so far. A frame that was superseded by a
    /// newer one before Bevy received it is not counted.
    pub fn presented(&self) -> u64 {
        self.presented.load(Ordering::Relaxed)
    }

    /// Returns the compute side of this resource, which has its own stream, for creating kernel
    /// memory. Returns `None` if frames are uploaded.
    pub fn compute(&self) -> Option<&Compute> {
        match &self.side {
            Side::Shared { writer, .. } => Some(writer.compute()),
            Side::Upload(_) => None,
        }
    }
}

/// Removes the frames that have finished, and returns the number of the others.
fn left(unfinished: &mut VecDeque<TimelinePoint>) -> Result<usize> {
    while let Some(oldest) = unfinished.front()
        && oldest.is_reached()?
    {
        unfinished.pop_front();
    }
    Ok(unfinished.len())
}

impl<R: Content> std::fmt::Debug for CudaWriter<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.side {
            Side::Shared { writer, .. } => write!(f, "CudaWriter({writer:?})"),
            Side::Upload(_) => f.write_str("CudaWriter(upload)"),
        }
    }
}

impl<R: Content> std::fmt::Debug for Frame<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cuda(work) => f.debug_tuple("Cuda").field(work).finish(),
            Self::Cpu(frame) => f.debug_tuple("Cpu").field(frame).finish(),
        }
    }
}

impl<R: Content> std::fmt::Debug for CpuFrame<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuFrame").field("width", &self.width).field("ran", &self.ran).finish_non_exhaustive()
    }
}
