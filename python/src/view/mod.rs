//! [`View`]: a screen with a lock for Python. Its methods are in `methods`.

mod file;
mod methods;
mod picture;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bridge::{Backend, BufferSpec, Compute, RenderTurn};
use bridge_view::{WindowInfo, WindowState};
use pyo3::prelude::*;

use crate::canvas::{FrameTarget, Shared};
use crate::choose;
use crate::error::{Fault, Kind};
use crate::fork::Process;
use crate::memory::Memory;
use crate::native::{Detached, Native, call, detached};
use crate::options::look;
use crate::screen::device::Wanted;
use crate::screen::slots::{Attribute, Format};
use crate::screen::{Scene, Screen};
use crate::tensor::stream::named;
use crate::tensor::{Consumer, Role, TensorView};

/// Shows tensors of any library, as images or points, on the GPU that they are on.
///
/// ``width`` and ``height`` are the size of the picture in pixels. ``backend`` is ``"cuda"``,
/// ``"host"`` (tensors in host memory, drawn by the best Vulkan device), or None to use CUDA if it
/// is available.
///
/// ``device`` is the device of the tensors, as in torch: ``"cuda:1"``, its number ``1``, ``"cpu"``
/// or a ``torch.device``. ``"cpu"`` is the backend ``"host"``. A UUID, a part of the name or
/// ``"vulkan:1"``, the device's index in Vulkan, selects a GPU too. By default it is the first GPU
/// that CUDA can share with Vulkan, normally ``"cuda:0"``.
///
/// With ``headless=True`` there is no window. With ``headless=False`` there is a window, or an
/// exception is raised. By default, there is a window if there is a display and the GPU can present
/// to it; otherwise a warning with the reason is logged to the logger ``vkview``. The window has
/// the title ``title``, and shows the picture scaled to its size, with black bars if the aspect
/// ratios differ. ``draw`` shows the picture, and handles the events of all windows of the process.
/// A view with a window must be created and drawn on the main thread. Closing the window or
/// pressing Escape makes ``running`` false. For points, dragging rotates the camera, the wheel
/// moves it closer or away, and Home resets it. ``vsync=False`` shows pictures without waiting for
/// the refresh of the display, if possible.
///
/// Any thread may use a view, but only one at a time; a call waits until another thread's call has
/// ended. In a forked child, calls raise an exception.
#[pyclass(frozen, module = "vkview", weakref)]
pub(crate) struct View {
    screen: Mutex<Option<Screen>>,
    /// Tensors created for the user.
    tensors: Mutex<Vec<Weak<Memory>>>,
    canvases: Mutex<Vec<Weak<Shared>>>,
    /// The options of the last `image` or `points`, for `show`.
    scene: Mutex<Scene>,
    /// The state of the window, if there is one.
    window: Option<WindowState>,
    /// The compute side of the screen, for uses without a lock.
    compute: Detached<Native<Compute>>,
    width: u32,
    height: u32,
    process: Process,
}

impl View {
    /// Opens a view with a picture of the size in `wanted`.
    fn open(
        py: Python<'_>,
        headless: Option<bool>,
        wanted: &WindowInfo,
        device: &Wanted,
        backend: Backend,
    ) -> PyResult<Self> {
        Process::check_drivers()?;
        let [width, height] = wanted.size;
        let open = |window| Screen::open(wanted.size, backend, device, window);
        let screen = choose::screen(py, headless, wanted, open)?;
        let compute = Detached::new(Native::new(screen.compute().clone()));
        let window = screen.window();
        let (screen, tensors, canvases) = (Mutex::new(Some(screen)), Mutex::default(), Mutex::default());
        let (scene, process) = (Mutex::new(Scene::Image(look(0.0, false, None)?)), Process::current());
        Ok(Self { screen, tensors, canvases, scene, window, compute, width, height, process })
    }

    /// Runs `f` with the screen, detached from the interpreter, since it calls drivers and may
    /// wait.
    fn with<R: Send>(&self, py: Python<'_>, f: impl FnOnce(&mut Screen) -> Result<R, Fault> + Send) -> PyResult<R> {
        self.process.check("view")?;
        Ok(call(py, || f(self.lock().as_mut().ok_or_else(closed)?))??)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Screen>> {
        // After a panic the screen is still valid and reports its own state.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(
        &self,
        py: Python<'_>,
        tensor: &Bound<'_, PyAny>,
        own: Option<(&Bound<'_, PyAny>, Attribute)>,
        stream: Option<&Bound<'_, PyAny>>,
        scene: Scene,
    ) -> PyResult<()> {
        self.process.check("view")?;
        let stream = stream.map(named).transpose()?;
        let mut tensor = TensorView::of(tensor, self.consumer(), stream, Role::Source)?;
        let own =
            own.map(|(own, what)| Ok::<_, PyErr>((TensorView::of(own, self.consumer(), stream, Role::Source)?, what)));
        let mut own = own.transpose()?;
        // Borrowed, so that it is dropped after the screen is unlocked: the tensor's deleter may be
        // Python code that calls the view.
        self.with(py, |screen| match scene {
            Scene::Image(look) => screen.image(&mut tensor, look),
            Scene::Points(look) => screen.points(&mut tensor, own.as_mut().map(|(own, what)| (own, *what)), look),
        })?;
        *self.scene.lock().unwrap_or_else(PoisonError::into_inner) = scene;
        Ok(())
    }

    /// Returns the stream that copies are enqueued on, and its device.
    fn consumer(&self) -> Option<Consumer> {
        let cuda = self.compute.cuda()?;
        let device = i32::try_from(cuda.device().ordinal()).ok();
        Some(Consumer { stream: cuda.stream().cu_stream() as usize, device })
    }

    /// Waits for the view's frames and frees its memory. Returns the error of the wait, and the
    /// number of tensors and frames that are still in use, which is returned only once.
    fn end(&self) -> (Result<(), Fault>, usize) {
        let ended = self.lock().take().map_or(Ok(()), |mut screen| screen.drain());
        let canvases = std::mem::take(&mut *self.canvases());
        let frames: usize = canvases.iter().filter_map(Weak::upgrade).map(|canvas| canvas.close()).sum();
        let tensors = std::mem::take(&mut *self.live());
        (ended, frames + tensors.iter().filter(|memory| memory.strong_count() > 0).count())
    }

    fn live(&self) -> MutexGuard<'_, Vec<Weak<Memory>>> {
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn canvases(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.canvases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameTarget for Py<View> {
    fn show_frame(&self, frame: RenderTurn<BufferSpec<u8>>, format: Format, scene: Scene) -> Result<(), Fault> {
        match self.get().lock().as_mut() {
            Some(screen) => screen.show(frame, format, scene),
            None => {
                frame.skip();
                Err(closed())
            }
        }
    }
}

fn closed() -> Fault {
    Fault::new(Kind::Closed, "the view is closed")
}

impl View {
    fn png(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        self.with(py, Screen::png)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // Not locked: in a forked child the thread that holds the lock may not exist.
        let screen = self.screen.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.process.is_child() {
            std::mem::forget(screen);
            return;
        }
        // Dropping the screen waits for its frames.
        detached(move || drop(screen));
    }
}

/// Adds an object to a list, and removes the objects that no longer exist.
fn note<T>(list: &mut Vec<Weak<T>>, one: &Arc<T>) {
    list.retain(|other| other.strong_count() > 0);
    list.push(Arc::downgrade(one));
}
