//! [`Canvas`]: frames that are written in place, as tensors that are the slots that Vulkan reads.

mod open;
mod shared;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use bridge::{BufferSpec, ComputeTurn, RenderTurn, Work};
use bridge_view::Look;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::canvas::open::{FrameOwner, OpenFrame};
pub(crate) use crate::canvas::shared::Shared;
use crate::canvas::shared::{Kept, Named};
use crate::error::{Fault, Kind, leave};
use crate::export::Layout;
use crate::fault::to_fault;
use crate::native::{Detached, call, detached};
use crate::owned::{Owner, Tensor};
use crate::screen::copy::skip;
use crate::screen::slots::Format;
use crate::screen::{Scene, limit};
use crate::tensor::{Device, tuple};

/// Tensors that Vulkan reads in place, without a copy.
///
/// It is created by ``View.canvas``. Frames do not keep the contents of earlier frames, so write
/// each frame completely.
#[pyclass(frozen, module = "vkview")]
pub(crate) struct Canvas {
    shared: Detached<Arc<Shared>>,
    view: Box<dyn FrameTarget>,
    shape: Vec<usize>,
    format: Format,
    look: Look,
}

/// The view that draws the frames of a canvas.
pub(crate) trait FrameTarget: Send + Sync {
    /// Selects a frame to draw next. Returns an error if the view is closed.
    fn show_frame(&self, frame: RenderTurn<BufferSpec<u8>>, format: Format, scene: Scene) -> Result<(), Fault>;
}

impl Canvas {
    pub(crate) fn new(
        view: impl FrameTarget + 'static,
        shared: Arc<Shared>,
        shape: Vec<usize>,
        format: Format,
        look: Look,
    ) -> Self {
        Self { shared: Detached::new(shared), view: Box::new(view), shape, format, look }
    }

    fn begin(&self, stream: Option<&Named>) -> Result<(Open, Layout), Fault> {
        self.shared.process.check("canvas")?;
        let kept = self.shared.slots(stream)?;
        let number = stream.map(|stream| stream.number);
        kept.check_streams(number)?;
        kept.join_rest()?;
        let mut slots = kept.lock();
        let mut turn = slots.begin()?;
        let place = match turn.work() {
            Work::Cuda(work) => Ok(work.resources.as_raw() as usize),
            Work::Host(work) => {
                let (sender, receiver) = mpsc::channel();
                // Runs after Vulkan has finished with the slot. While the turn is open, nothing
                // else uses the memory.
                let ran = work.run(move |bytes: &mut [u8]| {
                    // After the limit there is no receiver any more.
                    let _ = sender.send(bytes.as_mut_ptr().expose_provenance());
                });
                let late = |_| Fault::new(Kind::Driver, "Vulkan does not give the slot of the canvas back");
                ran.map_err(to_fault).and_then(|()| receiver.recv_timeout(limit()).map_err(late))
            }
            _ => Err(Fault::new(Kind::Driver, "the compute side has no memory for tensors")),
        };
        drop(slots);
        let frame = Arc::new(OpenFrame::new(&kept, stream, &self.shared));
        let ready = place.and_then(|address| frame.lend(number).map(|_| address));
        match ready {
            Ok(address) => {
                let device = Device::of(self.shared.compute());
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

/// A frame between `__enter__` and `__exit__`. Field order is drop order: the slots outlive the
/// turn.
struct Open {
    turn: ComputeTurn<BufferSpec<u8>>,
    frame: Arc<OpenFrame>,
    kept: Kept,
}

#[pymethods]
impl Canvas {
    /// Returns the next frame, for a ``with`` block that writes it.
    ///
    /// ``stream`` is the CUDA stream that writes the frame: an address, or a stream of torch, cupy
    /// or numba. The stream waits for Vulkan's last use of the memory. When the block is left,
    /// Vulkan waits for the stream, and for each stream that imported the tensor through DLPack.
    /// You must join other streams yourself. The host does not wait, except with the CPU backend,
    /// where it waits until the memory is free.
    ///
    /// If the first frame names one of torch's own streams or the default stream, which are never
    /// destroyed, that stream waits for Vulkan and signals it directly. Other streams are joined
    /// with events, which takes hundreds of microseconds more per frame on the GPU. A stream object
    /// is kept alive until the block has been left; a stream that is given as a number must live
    /// that long.
    ///
    /// If the block raises an exception, the frame is not drawn. A tensor that is used after the
    /// block may read or corrupt a later frame.
    #[pyo3(signature = (*, stream=None))]
    fn frame(slf: &Bound<'_, Self>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<CanvasFrame> {
        let named = stream.map(Named::of).transpose()?;
        Ok(CanvasFrame { canvas: slf.clone().unbind(), stream: named, open: Mutex::new(None) })
    }

    /// The shape of a frame, as a tuple.
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

/// A frame of a canvas, for a ``with`` block. Created by ``Canvas.frame``.
#[pyclass(frozen, module = "vkview")]
pub(crate) struct CanvasFrame {
    canvas: Py<Canvas>,
    stream: Option<Named>,
    open: Mutex<Option<Open>>,
}

#[pymethods]
impl CanvasFrame {
    /// Returns the tensor to write.
    fn __enter__(&self, py: Python<'_>) -> PyResult<Tensor> {
        let canvas = self.canvas.get();
        let begun = call(py, || {
            let (open, layout) = canvas.begin(self.stream.as_ref())?;
            let frame = Arc::clone(&open.frame);
            *self.lock() = Some(open);
            Ok::<_, Fault>((frame, layout))
        });
        let (frame, layout) = match begun {
            Ok(begun) => begun?,
            Err(interrupt) => {
                // The block is not entered, so `__exit__` is not called.
                if let Some(open) = self.lock().take() {
                    detached(move || abandon(open));
                }
                return Err(interrupt);
            }
        };
        Ok(Tensor::new(layout, Owner::Frame(Box::new(FrameOwner::new(frame)))))
    }

    /// Passes the frame to the view, which draws it next; releases it undrawn if the block raised.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let raised = !kind.is_none();
        leave(py, raised, self.end(py, raised))
    }
}

impl CanvasFrame {
    /// Hands the slot over, or releases it undrawn if the block raised.
    fn end(&self, py: Python<'_>, raised: bool) -> PyResult<()> {
        let canvas = self.canvas.get();
        canvas.shared.process.check("canvas")?;
        let Some(open) = self.lock().take() else { return Ok(()) };
        call(py, move || {
            // The slots are dropped last.
            let Open { turn, frame, kept } = open;
            // A capture may have begun in the block.
            if let Err(fault) = frame.end().and_then(|()| kept.check_streams(None)) {
                skip(turn);
                return Err(fault);
            }
            if raised {
                skip(turn);
                return Ok(());
            }
            let turn = turn.finish().map_err(to_fault)?;
            canvas.view.show_frame(turn, canvas.format, Scene::Image(canvas.look))
        })??;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CanvasFrame {
    fn drop(&mut self) {
        // `__exit__` was not called: the slot is released undrawn. Not locked, since in a forked
        // child the thread that holds the lock may not exist.
        let Some(open) = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if open.frame.process().is_child() {
            std::mem::forget(open);
            return;
        }
        detached(move || abandon(open));
    }
}

/// Releases the slot undrawn.
fn abandon(open: Open) {
    let Open { turn, frame, kept: _kept } = open;
    if let Err(fault) = frame.end() {
        log::warn!("a frame of a canvas was left, and its streams could not be joined: {fault}");
    }
    skip(turn);
}
