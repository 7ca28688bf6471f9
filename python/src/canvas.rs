//! Frames that are written in place: the tensor is the slot that Vulkan reads.

// Wraps streams of other libraries.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bridge::cudarc::driver::{CudaStream, sys};
use bridge::{BufferSpec, Compute, ComputeTurn, Work};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::error::{Fault, Kind};
use crate::export::Layout;
use crate::fork::Process;
use crate::owned::{Owner, Tensor};
use crate::screen::copy::{put_behind, refuse_captured_stream};
use crate::screen::slots::{Format, Slots};
use crate::screen::{LIMIT, Look, Scene, told};
use crate::tensor::stream::{LEGACY, named};
use crate::tensor::{Device, tuple};
use crate::view::View;

/// The slots of a canvas. Exported tensors keep them.
pub(crate) struct Shared {
    slots: Mutex<Option<Slots>>,
    compute: Compute,
    process: Process,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Slots>> {
        // A panic in between leaves whole slots behind.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ours(&self) -> Option<&Arc<CudaStream>> {
        Some(self.compute.cuda()?.stream())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.process.is_child() {
            std::mem::forget(self.lock().take());
            std::mem::forget(self.compute.clone());
        }
    }
}

/// A frame that is being written, for the tensors made of it.
pub(crate) struct OpenFrame {
    open: AtomicBool,
    /// Streams that were told of the memory: all are joined when the frame ends.
    streams: Mutex<BTreeSet<usize>>,
    /// The one that was named.
    stream: Option<usize>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for OpenFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenFrame(open: {})", self.open.load(Ordering::Acquire))
    }
}

impl OpenFrame {
    /// Puts a stream behind Vulkan's last use of the slot, and notes that the frame's end is to be behind it.
    pub(crate) fn lend(&self, stream: Option<usize>) -> Result<(), Fault> {
        self.shared.process.check("canvas")?;
        if !self.open.load(Ordering::Acquire) {
            return Err(Fault::new(
                Kind::Closed,
                "the frame of the canvas has ended: its memory is drawn, or another frame's by now",
            ));
        }
        let (Some(ours), Some(stream)) = (self.shared.ours(), stream) else { return Ok(()) };
        refuse_captured_stream(ours, stream)?;
        if self.streams().insert(stream) {
            put_behind(&mut None, ours, &foreign(ours, stream))?;
        }
        Ok(())
    }

    /// As [`lend`](Self::lend), to a consumer that names no stream: the one that was named, else the legacy default stream.
    pub(crate) fn lend_by_interface(&self) -> Result<Option<usize>, Fault> {
        let stream = self.shared.ours().map(|_| self.stream.unwrap_or(LEGACY));
        self.lend(stream).map(|()| stream)
    }

    /// No more tensors are made; what the streams have enqueued comes before what follows on ours.
    fn end(&self) -> Result<(), Fault> {
        self.open.store(false, Ordering::Release);
        let Some(ours) = self.shared.ours() else { return Ok(()) };
        for &stream in self.streams().iter() {
            put_behind(&mut None, &foreign(ours, stream), ours)?;
        }
        Ok(())
    }

    fn streams(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
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
    shared: Arc<Shared>,
    view: Py<View>,
    shape: Vec<usize>,
    format: Format,
    look: Look,
}

impl Canvas {
    pub(crate) fn new(
        view: Py<View>,
        compute: Compute,
        shape: Vec<usize>,
        format: Format,
        look: Look,
    ) -> Result<Self, Fault> {
        let slots = Mutex::new(Some(Slots::new(&compute, "canvas", format)?));
        Ok(Self { shared: Arc::new(Shared { slots, compute, process: Process::current() }), view, shape, format, look })
    }

    fn begin(&self, stream: Option<usize>) -> Result<(Open, Layout), Fault> {
        self.shared.process.check("canvas")?;
        let mut slots = self.shared.lock();
        let slots = slots.as_mut().ok_or_else(|| Fault::new(Kind::Closed, "the canvas is closed"))?;
        let mut turn = slots.begin()?;
        let place = match turn.work() {
            Work::Cuda(work) => Ok(work.resources.as_raw() as usize),
            Work::Host(work) => {
                let (sender, receiver) = mpsc::channel();
                // Runs once Vulkan is done with the slot. The turn is open, so that nobody else uses the memory until it ends.
                let ran = work.run(move |bytes: &mut [u8]| {
                    // Nobody receives it past the limit.
                    let _ = sender.send(bytes.as_mut_ptr().expose_provenance());
                });
                let late = |_| Fault::new(Kind::Driver, "Vulkan does not give the slot of the canvas back");
                ran.map_err(told).and_then(|()| receiver.recv_timeout(LIMIT).map_err(late))
            }
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory for tensors")),
        };
        let frame = Arc::new(OpenFrame {
            open: AtomicBool::new(true),
            streams: Mutex::default(),
            stream,
            shared: Arc::clone(&self.shared),
        });
        let ready = place.and_then(|address| frame.lend(stream).map(|()| address));
        match ready {
            Ok(address) => {
                let device = self.shared.compute.cuda().map_or(Device::Cpu, |cuda| {
                    Device::Cuda(i32::try_from(cuda.device().ordinal()).unwrap_or(i32::MAX))
                });
                let layout = Layout { address, device, dtype: self.format.dtype, shape: self.shape.clone() };
                Ok((Open { turn, frame }, layout))
            }
            Err(fault) => {
                skip(turn);
                Err(fault)
            }
        }
    }
}

/// A frame between `__enter__` and `__exit__`.
struct Open {
    turn: ComputeTurn<BufferSpec<u8>>,
    frame: Arc<OpenFrame>,
}

fn skip(turn: ComputeTurn<BufferSpec<u8>>) {
    if let Err(error) = turn.skip() {
        log::warn!("{error}");
    }
}

#[pymethods]
impl Canvas {
    /// The next frame, for a ``with`` block that writes it.
    ///
    /// ``stream`` is the CUDA stream that writes it: an address, or a stream of torch, cupy, numba. It is put behind Vulkan's last
    /// use of the memory; leaving the block puts Vulkan behind it, and behind each stream that took the tensor through DLPack. Other
    /// streams are yours to join. The host waits for nothing; on the CPU backend it waits until the memory is free.
    ///
    /// An exception in the block gives the memory back undrawn. A tensor that is kept after the block may see or tear a later frame.
    #[pyo3(signature = (*, stream=None))]
    fn frame(slf: &Bound<'_, Self>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<CanvasFrame> {
        let stream = stream.map(named).transpose()?;
        Ok(CanvasFrame { canvas: slf.clone().unbind(), stream, open: Mutex::new(None) })
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
    open: Mutex<Option<Open>>,
}

#[pymethods]
impl CanvasFrame {
    /// The tensor to write.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Tensor> {
        let canvas = self.canvas.get();
        let (open, layout) = py.detach(|| canvas.begin(self.stream))?;
        let frame = Arc::clone(&open.frame);
        *self.lock() = Some(open);
        Ok(Tensor::new(layout, Owner::Frame(frame)))
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
        let Some(Open { turn, frame }) = self.lock().take() else { return Ok(false) };
        py.detach(|| {
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
        if let Some(Open { turn, frame }) = self.lock().take() {
            if frame.shared.process.is_child() {
                std::mem::forget((turn, frame));
            } else if frame.end().is_ok() {
                skip(turn);
            }
        }
    }
}
