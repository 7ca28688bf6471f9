//! [`OpenFrame`]: a frame that is being written, and the streams that write it.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::canvas::shared::{Export, Kept, Lent, Named, Shared, Streams, foreign};
use crate::error::{Fault, Kind};
use crate::fork::Process;
use crate::native::Native;
use crate::owned::Frame;
use crate::screen::order::check_stream;
use crate::tensor::stream::{LEGACY, explicit};

/// A frame that is being written, shared with the tensors created from it.
pub(super) struct OpenFrame {
    /// `None` after the frame has ended.
    lending: Mutex<Option<Lending>>,
    /// The stream given by the user, if any.
    stream: Option<usize>,
    shared: Arc<Shared>,
}

struct Lending {
    /// Kept alive by the frame's `Open`.
    slots: Weak<Native<Lent>>,
    /// Joined when the frame ends.
    streams: Streams,
}

impl OpenFrame {
    pub(super) fn new(kept: &Kept, stream: Option<&Named>, shared: &Arc<Shared>) -> Self {
        let keep = stream.map(|stream| Arc::clone(&stream.object)).into_iter().collect();
        let lending = Lending { slots: Arc::downgrade(kept), streams: Streams { keep, ..Streams::default() } };
        let stream = stream.map(|stream| stream.number);
        Self { lending: Mutex::new(Some(lending)), stream, shared: Arc::clone(shared) }
    }

    pub(super) fn process(&self) -> Process {
        self.shared.process
    }

    /// Makes a stream wait for Vulkan's last use of the slot, and notes that the end of the frame
    /// must wait for the stream. The caller keeps the returned value while it uses the memory.
    pub(super) fn lend(&self, stream: Option<usize>) -> Result<Kept, Fault> {
        self.shared.process.check("canvas")?;
        let ended = || {
            let reason =
                "the frame of the canvas has ended: its memory is being drawn, or belongs to another frame by now";
            Fault::new(Kind::Closed, reason)
        };
        // Locked during the whole call, so that the frame does not end meanwhile.
        let mut lending = self.lock();
        let lending = lending.as_mut().ok_or_else(ended)?;
        let kept = lending.slots.upgrade().ok_or_else(ended)?;
        let (Some(ours), Some(stream)) = (kept.stream(), stream) else { return Ok(kept) };
        // The hand-over's own stream needs no event.
        if stream != ours.cu_stream() as usize && !lending.streams.numbers.contains(&stream) {
            explicit(stream)?;
            check_stream(ours, stream)?;
            kept.put_behind(ours, &foreign(ours, stream))?;
            lending.streams.numbers.insert(stream);
        }
        Ok(kept)
    }

    /// Like [`lend`](Self::lend), for a consumer that names no stream: uses the stream given by the
    /// user, otherwise the legacy default stream.
    fn lend_by_interface(&self) -> Result<(Option<usize>, Kept), Fault> {
        let stream = self.shared.compute().cuda().map(|_| self.stream.unwrap_or(LEGACY));
        Ok((stream, self.lend(stream)?))
    }

    /// Ends the frame: no more tensors are created, and later work on the hand-over's stream waits
    /// for the work enqueued on the frame's streams. Streams that cannot be joined, because of a
    /// capture, are joined before the next frame begins or the slots are freed.
    pub(super) fn end(&self) -> Result<(), Fault> {
        let Some(lending) = self.lock().take() else { return Ok(()) };
        let Some(kept) = lending.slots.upgrade() else { return Ok(()) };
        kept.join(lending.streams)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lending>> {
        self.lending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame as the owner of the tensors created from it.
pub(super) struct FrameOwner {
    frame: Arc<OpenFrame>,
    /// The slots, once an array interface has given their address away.
    kept: OnceLock<Kept>,
}

impl FrameOwner {
    pub(super) fn new(frame: Arc<OpenFrame>) -> Self {
        Self { frame, kept: OnceLock::new() }
    }
}

impl Frame for FrameOwner {
    fn lend(&self, stream: Option<usize>) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(Export::new(self.frame.lend(stream)?)))
    }

    fn lend_by_interface(&self) -> Result<Option<usize>, Fault> {
        let (stream, slots) = self.frame.lend_by_interface()?;
        self.kept.get_or_init(|| slots);
        Ok(stream)
    }
}
