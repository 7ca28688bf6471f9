//! Frames that are written in place: the tensor is the slot that Vulkan reads.

// Wraps streams of other libraries.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, mpsc};

use bridge::cuda_import::StreamMark;
use bridge::cudarc::driver::{CudaStream, sys};
use bridge::{BufferSpec, Compute, ComputeTurn, Work};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Fault, Kind};
use crate::export::Layout;
use crate::fork::Process;
use crate::native::{Detached, Native, call, detached, drop_later};
use crate::owned::{Owner, Tensor};
use crate::screen::copy::{put_behind, refuse_captured_stream, skip};
use crate::screen::slots::{Format, Slots};
use crate::screen::{Look, Scene, limit, told};
use crate::tensor::stream::{LEGACY, explicit, named};
use crate::tensor::{Device, tuple};
use crate::view::View;

/// The slots. Whoever may use them holds this: the canvas, an open frame, and tensors that were
/// made of one.
pub(crate) type Kept = Arc<Native<Mutex<Slots>>>;

/// The part of a canvas that its frames share.
pub(crate) struct Shared {
    /// `None` once the view is closed.
    slots: Mutex<Option<Kept>>,
    /// Moved from stream to stream, so that none is made for each frame.
    event: Native<Mutex<Option<StreamMark>>>,
    compute: Native<Compute>,
    process: Process,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        // A panic in between leaves whole slots behind.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ours(&self) -> Option<&Arc<CudaStream>> {
        Some(self.compute.cuda()?.stream())
    }

    /// Makes what is enqueued on `second` from now on wait for what is enqueued on `first` now.
    fn put_behind(&self, first: &CudaStream, second: &CudaStream) -> Result<(), Fault> {
        put_behind(&mut self.event.lock().unwrap_or_else(PoisonError::into_inner), first, second)
    }

    /// Begins no more frames, and frees the slots with their last user. Returns how many still use
    /// them.
    pub(crate) fn close(&self) -> usize {
        let kept = self.lock().take();
        kept.map_or(0, |kept| Arc::strong_count(&kept) - 1)
    }
}

/// For the capsules: keeps the slots, and frees them without holding up whoever gives the last
/// capsule back.
pub(crate) struct Export(Option<Kept>);

impl Export {
    pub(crate) fn new(kept: Kept) -> Self {
        Self(Some(kept))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take().and_then(Arc::into_inner) {
            drop_later(slots);
        }
    }
}

/// A frame that is being written, for the tensors made of it.
pub(crate) struct OpenFrame {
    /// `None` once it has ended.
    lending: Mutex<Option<Lending>>,
    /// The stream that was named.
    stream: Option<usize>,
    shared: Arc<Shared>,
}

struct Lending {
    /// Kept by the frame's [`Open`].
    slots: Weak<Native<Mutex<Slots>>>,
    /// Streams that were told of the memory: all are joined when the frame ends.
    streams: BTreeSet<usize>,
}

impl OpenFrame {
    /// Puts a stream behind Vulkan's last use of the slot, and notes that the frame's end is to be
    /// behind it. What is returned is kept for as long as the memory is used.
    pub(crate) fn lend(&self, stream: Option<usize>) -> Result<Kept, Fault> {
        self.shared.process.check("canvas")?;
        let ended = || {
            let reason = "the frame of the canvas has ended: its memory is drawn, or another frame's by now";
            Fault::new(Kind::Closed, reason)
        };
        // Locked throughout, so that the frame does not end in between.
        let mut lending = self.lock();
        let lending = lending.as_mut().ok_or_else(ended)?;
        let kept = lending.slots.upgrade().ok_or_else(ended)?;
        let (Some(ours), Some(stream)) = (self.shared.ours(), stream) else { return Ok(kept) };
        if !lending.streams.contains(&stream) {
            explicit(stream)?;
            refuse_captured_stream(ours, stream)?;
            self.shared.put_behind(ours, &foreign(ours, stream))?;
            lending.streams.insert(stream);
        }
        Ok(kept)
    }

    /// As [`lend`](Self::lend), to a consumer that names no stream: the one that was named, else
    /// the legacy default stream.
    pub(crate) fn lend_by_interface(&self) -> Result<(Option<usize>, Kept), Fault> {
        let stream = self.shared.ours().map(|_| self.stream.unwrap_or(LEGACY));
        Ok((stream, self.lend(stream)?))
    }

    /// No more tensors are made; what the streams have enqueued comes before what follows on ours.
    fn end(&self) -> Result<(), Fault> {
        let Some(lending) = self.lock().take() else { return Ok(()) };
        let Some(ours) = self.shared.ours() else { return Ok(()) };
        let join = |&stream: &usize| self.shared.put_behind(&foreign(ours, stream), ours);
        // All, though one may fail.
        lending.streams.iter().map(join).fold(Ok(()), Result::and)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lending>> {
        self.lending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn foreign(ours: &Arc<CudaStream>, stream: usize) -> Arc<CudaStream> {
    // SAFETY: the wrapper destroys nothing; the caller, or a library, named a stream that lives.
    unsafe { ours.context().wrap_borrowed_stream(stream as sys::CUstream) }
}

/// Tensors that Vulkan reads where they are: nothing is copied.
///
/// It is made by ``View.canvas``. Each frame is another memory: write all of it.
#[pyclass(frozen, module = "vkview")]
pub(crate) struct Canvas {
    shared: Detached<Arc<Shared>>,
    view: Py<View>,
    shape: Vec<usize>,
    format: Format,
    look: Look,
}

impl Canvas {
    pub(crate) fn new(view: Py<View>, shared: Arc<Shared>, shape: Vec<usize>, format: Format, look: Look) -> Self {
        Self { shared: Detached::new(shared), view, shape, format, look }
    }

    fn begin(&self, stream: Option<usize>) -> Result<(Open, Layout), Fault> {
        self.shared.process.check("canvas")?;
        let closed = || Fault::new(Kind::Closed, "the view of the canvas is closed");
        let kept = self.shared.lock().clone().ok_or_else(closed)?;
        let mut slots = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turn = slots.begin()?;
        let place = match turn.work() {
            Work::Cuda(work) => Ok(work.resources.as_raw() as usize),
            Work::Host(work) => {
                let (sender, receiver) = mpsc::channel();
                // Runs once Vulkan is done with the slot. The turn is open, so that nobody else
                // uses the memory until it ends.
                let ran = work.run(move |bytes: &mut [u8]| {
                    // Nobody receives it past the limit.
                    let _ = sender.send(bytes.as_mut_ptr().expose_provenance());
                });
                let late = |_| Fault::new(Kind::Driver, "Vulkan does not give the slot of the canvas back");
                ran.map_err(told).and_then(|()| receiver.recv_timeout(limit()).map_err(late))
            }
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory for tensors")),
        };
        drop(slots);
        let frame = Arc::new(OpenFrame {
            lending: Mutex::new(Some(Lending { slots: Arc::downgrade(&kept), streams: BTreeSet::new() })),
            stream,
            shared: Arc::clone(&self.shared),
        });
        let ready = place.and_then(|address| frame.lend(stream).map(|_| address));
        match ready {
            Ok(address) => {
                let device = self.shared.compute.cuda().map_or(Device::Cpu, |cuda| {
                    Device::Cuda(i32::try_from(cuda.device().ordinal()).unwrap_or(i32::MAX))
                });
                let layout = Layout { address, device, dtype: self.format.dtype, shape: self.shape.clone() };
                Ok((Open { turn, frame, kept }, layout))
            }
            Err(fault) => {
                skip(turn);
                Err(fault)
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(compute: &Compute, format: Format) -> Result<Arc<Self>, Fault> {
        let slots = Arc::new(Native::new(Mutex::new(Slots::new(compute, "canvas", format)?)));
        Ok(Arc::new(Self {
            slots: Mutex::new(Some(slots)),
            event: Native::new(Mutex::new(None)),
            compute: Native::new(compute.clone()),
            process: Process::current(),
        }))
    }
}

/// A frame between `__enter__` and `__exit__`. The slots outlive the turn, by the order of the
/// fields.
struct Open {
    turn: ComputeTurn<BufferSpec<u8>>,
    frame: Arc<OpenFrame>,
    kept: Kept,
}

#[pymethods]
impl Canvas {
    /// The next frame, for a ``with`` block that writes it.
    ///
    /// ``stream`` is the CUDA stream that writes it: an address, or a stream of torch, cupy, numba.
    /// It is put behind Vulkan's last use of the memory; leaving the block puts Vulkan behind it,
    /// and behind each stream that took the tensor through DLPack. Other streams are yours to join.
    /// The host waits for nothing; on the CPU backend it waits until the memory is free.
    ///
    /// The frame keeps ``stream`` until the block has been left. A stream that a library names by
    /// its number alone, to DLPack or by ``stream=``, must live as long.
    ///
    /// An exception in the block gives the memory back undrawn. A tensor that is kept after the
    /// block may see or tear a later frame.
    #[pyo3(signature = (*, stream=None))]
    fn frame(slf: &Bound<'_, Self>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<CanvasFrame> {
        let number = stream.map(named).transpose()?;
        let keep = stream.map(|stream| stream.clone().unbind());
        Ok(CanvasFrame { canvas: slf.clone().unbind(), stream: number, _keep: keep, open: Mutex::new(None) })
    }

    /// The shape of a frame, a tuple.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    /// The element type's name.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.format.dtype.name()
    }

    fn __repr__(&self) -> String {
        format!("Canvas(shape={}, dtype='{}')", tuple(&self.shape), self.format.dtype)
    }
}

/// A frame of a canvas, to be entered with ``with``. Made by ``Canvas.frame``.
#[pyclass(frozen, module = "vkview")]
pub(crate) struct CanvasFrame {
    canvas: Py<Canvas>,
    stream: Option<usize>,
    /// The stream's object, which may destroy it: it is joined when the frame ends.
    _keep: Option<Py<PyAny>>,
    open: Mutex<Option<Open>>,
}

#[pymethods]
impl CanvasFrame {
    /// The tensor to write.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Tensor> {
        let canvas = self.canvas.get();
        let (open, layout) = call(py, || canvas.begin(self.stream))?;
        let frame = Arc::clone(&open.frame);
        *self.lock() = Some(open);
        Ok(Tensor::new(layout, Owner::Frame { frame, kept: OnceLock::new() }))
    }

    /// Hands the frame to the view, to be drawn next; gives it back undrawn if the block raised.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let raised = !kind.is_none();
        let canvas = self.canvas.get();
        canvas.shared.process.check("canvas")?;
        let Some(open) = self.lock().take() else { return Ok(false) };
        call(py, move || {
            // The slots go last.
            let Open { turn, frame, kept: _kept } = open;
            if let Err(fault) = frame.end() {
                skip(turn);
                return Err(fault);
            }
            if raised {
                skip(turn);
                return Ok(());
            }
            let turn = turn.finish().map_err(told)?;
            canvas.view.get().show_frame(turn, canvas.format, Scene::Image(canvas.look))
        })?;
        Ok(false)
    }
}

impl CanvasFrame {
    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CanvasFrame {
    fn drop(&mut self) {
        // Left without `__exit__`: the slot goes back undrawn.
        // Not locked: in a forked child nobody may be left to unlock it.
        let Some(open) = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if open.frame.shared.process.is_child() {
            std::mem::forget(open);
            return;
        }
        detached(move || {
            let Open { turn, frame, kept: _kept } = open;
            if let Err(fault) = frame.end() {
                log::warn!("a frame of a canvas was left, and its streams could not be joined: {fault}");
            }
            skip(turn);
        });
    }
}
