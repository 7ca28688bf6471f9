//! The Python methods of `View`.

use std::path::PathBuf;
use std::sync::PoisonError;

use bridge_view::{Camera, WindowInfo};
use pyo3::exceptions::{PyResourceWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::canvas::{Canvas, Shared};
use crate::error::leave;
use crate::export::Layout;
use crate::memory::Memory;
use crate::native::call;
use crate::options::{attribute, backend_of, device_of, dtype_of, look, point_look, size_of};
use crate::owned::{Owner, Tensor};
use crate::screen::copy::Wait;
use crate::screen::slots::Format;
use crate::screen::{Scene, Screen};
use crate::tensor::dtype::DType;
use crate::tensor::stream::named;
use crate::tensor::{Device, Role, TensorView, checked_shape};
use crate::view::picture::Picture;
use crate::view::{View, file, note};

#[pymethods]
impl View {
    #[new]
    #[pyo3(signature = (width, height, *, title="vkview", headless=None, vsync=true, backend=None, device=None))]
    #[expect(clippy::too_many_arguments, reason = "all but two have names in Python")]
    fn new(
        py: Python<'_>,
        width: i64,
        height: i64,
        title: &str,
        headless: Option<bool>,
        vsync: bool,
        backend: Option<&str>,
        device: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let size = size_of(width, height)?;
        let (device, backend) = device_of(device, backend_of(backend)?)?;
        if title.contains('\0') {
            return Err(PyValueError::new_err("title has a null character"));
        }
        let wanted = WindowInfo { title: title.to_owned(), vsync, size };
        Self::open(py, headless, &wanted, &device, backend)
    }

    /// Shows a tensor of shape (height, width) or (height, width, channels), with 1 to 4 channels,
    /// of ``uint8`` (0 to 255), ``float16`` or ``float32`` (0 to 1). The next ``draw`` draws it,
    /// scaled to the view.
    ///
    /// The elements must be in C order. Equal gaps between rows are allowed, as in a crop
    /// ``t[10:200, 30:400]``, every second row ``t[::2]``, or some channels ``t[..., :3]``.
    /// Channels may also come first in memory, as in ``t.permute(1, 2, 0)``. Other layouts raise
    /// ``LayoutError``.
    ///
    /// One channel is gray, or colored with ``colormap="viridis"``. Two are red and green; the
    /// fourth is the alpha of ``pixels`` and ``save``. The others are multiplied by 2 to the power
    /// of ``exposure``, and with ``linear=True`` then encoded as sRGB. NaN is magenta.
    ///
    /// The tensor is copied once, on the GPU. The view's stream waits for the stream that wrote it.
    /// That stream then waits for the copy, so its later work may overwrite the tensor. You may
    /// delete the tensor immediately if it was allocated on that stream; otherwise call torch's
    /// ``t.record_stream(stream)`` first.
    ///
    /// The stream is ``stream`` if given, otherwise torch's current stream, otherwise the entry of
    /// ``__cuda_array_interface__``. If no stream is known (jax), and for tensors in host memory,
    /// the call returns after the copy is done.
    #[pyo3(signature = (tensor, *, stream=None, exposure=0.0, linear=false, colormap=None))]
    fn image(
        &self,
        py: Python<'_>,
        tensor: &Bound<'_, PyAny>,
        stream: Option<&Bound<'_, PyAny>>,
        exposure: f32,
        linear: bool,
        colormap: Option<&str>,
    ) -> PyResult<()> {
        self.take(py, tensor, None, stream, Scene::Image(look(exposure, linear, colormap)?))
    }

    /// Shows points: a ``float32`` tensor of shape (count, 3), with x y z; (count, 4) adds a value
    /// from 0 to 1, colored by viridis; (count, 6) adds red, green and blue from 0 to 1.
    ///
    /// Values or colors may be a separate ``float32`` tensor: ``values`` of shape (count,) or
    /// (count, 1), or ``colors`` of shape (count, 3). Each tensor is copied once, and may be
    /// columns of a larger one, such as ``t[:, :3]``. ``stream`` applies to all of them.
    ///
    /// ``size`` is in pixels, from 1 to 64. ``color``, three numbers from 0 to 1, applies to points
    /// without a color. ``target`` is three numbers too. Points that are not finite are not drawn.
    ///
    /// The camera looks at ``target`` from ``distance``. At ``yaw`` 0 it looks along -z, with x to
    /// the right and y up. Angles are in radians. Copies and streams are as for ``image``.
    #[pyo3(signature = (tensor, *, colors=None, values=None, stream=None, size=2, color=[1.0, 1.0, 1.0], yaw=0.0, pitch=0.0, distance=3.0,
        target=[0.0, 0.0, 0.0], field_of_view=0.8),
        text_signature = "($self, tensor, *, colors=None, values=None, stream=None, size=2, color=(1.0, 1.0, 1.0), yaw=0.0, pitch=0.0, distance=3.0, target=(0.0, 0.0, 0.0), field_of_view=0.8)")]
    #[expect(clippy::too_many_arguments, reason = "all but the first have names in Python")]
    fn points(
        &self,
        py: Python<'_>,
        tensor: &Bound<'_, PyAny>,
        colors: Option<&Bound<'_, PyAny>>,
        values: Option<&Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
        size: i64,
        color: [f32; 3],
        yaw: f32,
        pitch: f32,
        distance: f32,
        target: [f32; 3],
        field_of_view: f32,
    ) -> PyResult<()> {
        let camera = Camera { target, distance, yaw, pitch, field_of_view };
        let own = attribute(colors, values)?;
        self.take(py, tensor, own, stream, Scene::Points(point_look(camera, size, color)?))
    }

    /// Shows a tensor like the last call of ``image`` or ``points``, with the same options except
    /// ``colors`` and ``values``. Without such a call, it is shown as an image.
    ///
    /// A tensor of the view is copied after the work on ``stream``, or by default after the work on
    /// the current streams of torch and cupy, if they are loaded, and the legacy default stream.
    #[pyo3(signature = (tensor, *, stream=None))]
    fn show(&self, py: Python<'_>, tensor: &Bound<'_, PyAny>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let scene = *self.scene.lock().unwrap_or_else(PoisonError::into_inner);
        self.take(py, tensor, None, stream, scene)
    }

    /// Creates a zeroed tensor in memory of the view's device. Any library can write it through
    /// DLPack or the array interfaces, without a copy. It can be used after the view is closed.
    #[pyo3(signature = (shape, dtype=None))]
    fn tensor(&self, py: Python<'_>, shape: Vec<i64>, dtype: Option<&Bound<'_, PyAny>>) -> PyResult<Tensor> {
        self.process.check("view")?;
        let dtype = dtype_of(dtype, DType::F32)?;
        let shape = checked_shape(&shape, dtype)?;
        let size = shape.iter().product::<usize>() * dtype.bytes();
        let memory = self.with(py, |screen| {
            let memory = Memory::zeroed(screen.compute(), size)?;
            // Under the screen's lock, so that `close` either precedes this or sees the object.
            note(&mut self.live(), &memory);
            Ok(memory)
        })?;
        let layout = Layout { address: memory.address(), device: memory.device(), dtype, shape };
        Ok(Tensor::new(layout, Owner::Memory(memory)))
    }

    /// Creates a canvas, whose frames are written in place, without a copy. ``shape``, ``dtype``
    /// and the other arguments are as for ``image``.
    #[pyo3(signature = (shape, dtype=None, *, exposure=0.0, linear=false, colormap=None))]
    fn canvas(
        slf: &Bound<'_, Self>,
        shape: Vec<i64>,
        dtype: Option<&Bound<'_, PyAny>>,
        exposure: f32,
        linear: bool,
        colormap: Option<&str>,
    ) -> PyResult<Canvas> {
        let view = slf.get();
        let look = look(exposure, linear, colormap)?;
        let dtype = dtype_of(dtype, DType::U8)?;
        let shape = checked_shape(&shape, dtype)?;
        let format = Format::new(&shape, dtype)?;
        let shared = view.with(slf.py(), |screen| {
            let shared = Shared::new(screen.compute(), format)?;
            // Under the screen's lock, so that `close` either precedes this or sees the object.
            note(&mut view.canvases(), &shared);
            Ok(shared)
        })?;
        Ok(Canvas::new(slf.clone().unbind(), shared, shape, format, look))
    }

    /// Draws the tensor or frame that was shown last, unless it has been drawn already. Returns
    /// true if it was drawn. The GPU draws asynchronously. This call waits only if three frames are
    /// in flight, if the number of points in a window has changed, and with the CPU backend until a
    /// canvas's frame is computed.
    ///
    /// A window shows the newest picture for which it has an image available. It never delays
    /// drawing: frames that are drawn faster than the display accepts them are not shown. If there
    /// is nothing new to show, this call waits up to 2 ms for events.
    fn draw(&self, py: Python<'_>) -> PyResult<bool> {
        let drawn = match &self.window {
            Some(_) => self.draw_in_window(py),
            None => self.with(py, |screen| Ok(screen.draw()?.drawn)),
        };
        // Lets Ctrl-C end a loop of frames.
        py.check_signals()?;
        drawn
    }

    /// Waits until all drawing has finished.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, Screen::finish)
    }

    /// Returns the picture that was drawn last, as a numpy array of shape (height, width, 4) and
    /// type ``uint8``. Waits until it is drawn. Before the first frame, the picture is black.
    fn pixels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut picture = Picture::new(py, self.width, self.height)?;
        let bytes = picture.bytes();
        self.with(py, |screen| screen.pixels(bytes))?;
        Ok(picture.into_array())
    }

    /// Copies the picture that was drawn last into a tensor of shape (height, width, 4) and type
    /// ``uint8``, of any library whose tensors can be written (not jax). For a tensor in device
    /// memory, nothing is copied through the host.
    ///
    /// The copy is ordered as for ``image``: it waits for the tensor's stream, and later work on
    /// that stream sees the picture. If no stream is known, and for tensors in host memory, the
    /// call returns after the picture has been copied.
    #[pyo3(signature = (tensor, *, stream=None))]
    fn read(&self, py: Python<'_>, tensor: &Bound<'_, PyAny>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.process.check("view")?;
        let stream = stream.map(named).transpose()?;
        let mut tensor = TensorView::of(tensor, self.consumer(), stream, Role::Target)?;
        // Borrowed, so that it is dropped later: see `take`.
        self.with(py, |screen| screen.read(&mut tensor))
    }

    /// Writes the picture to a PNG file. The file name must end in ``.png`` or have no extension;
    /// otherwise ``ValueError`` is raised.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        file::check_name(&path)?;
        file::write(py, path, &self.png(py)?)
    }

    /// Returns the picture as a PNG file, which notebooks show.
    fn _repr_png_<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.png(py)?))
    }

    /// Closes the view: waits for its frames, and frees its GPU memory, including that of its
    /// canvases. Returns the number of the view's tensors and of its canvases' frames that are
    /// still in use, and emits a ``ResourceWarning`` if there are any; they stay valid. A second
    /// call does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<usize> {
        self.process.check("view")?;
        let (ended, live) = call(py, || self.end())?;
        if live > 0 {
            let text = std::ffi::CString::new(format!("a view is closed while {live} of its tensors are in use"))?;
            PyErr::warn(py, &py.get_type::<PyResourceWarning>(), &text, 1)?;
        }
        ended?;
        Ok(live)
    }

    /// True while the view is open and its window was not closed by the user.
    #[getter]
    fn running(&self, py: Python<'_>) -> PyResult<bool> {
        py.check_signals()?;
        Ok(!self.closed(py) && !self.window_is_closed())
    }

    /// True after ``close`` was called.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.process.is_child() || py.detach(|| self.lock().is_none())
    }

    /// True if the view has no window.
    #[getter]
    fn headless(&self) -> bool {
        self.window.is_none()
    }

    /// The width of the picture, in pixels.
    #[getter]
    fn width(&self) -> u32 {
        self.width
    }

    /// The height of the picture, in pixels.
    #[getter]
    fn height(&self) -> u32 {
        self.height
    }

    /// ``"cuda"`` or ``"host"``.
    #[getter]
    fn backend(&self) -> String {
        self.compute.backend().to_string()
    }

    /// Why this backend was chosen, as text.
    #[getter]
    fn backend_reason(&self) -> &str {
        self.compute.reason()
    }

    /// The device of the view's tensors, as in torch: ``"cuda:N"``, or ``"cpu"`` with the backend
    /// ``"host"``.
    #[getter]
    fn device(&self) -> String {
        Device::of(&self.compute).name()
    }

    /// The name of the Vulkan device that draws, such as ``"NVIDIA H200"``.
    #[getter]
    fn device_name(&self) -> &str {
        self.compute.device().name()
    }

    /// Omits the wait ``"before"`` or ``"after"`` the copy, for negative controls of tests. Frames
    /// are wrong then.
    fn _leave_out_wait(&self, py: Python<'_>, wait: Option<&str>) -> PyResult<()> {
        let wrong = |name| PyValueError::new_err(format!("there is no wait {name:?}"));
        let wait = wait.map(|name| Wait::of(name).ok_or_else(|| wrong(name))).transpose()?;
        self.with(py, |screen| {
            screen.leave_out(wait);
            Ok(())
        })
    }

    /// Returns the validation layer's messages, if ``VKVIEW_VALIDATION=1`` enabled it; for tests.
    fn _validation_messages(&self) -> Vec<String> {
        self.compute.device().validation_messages().iter().map(|message| format!("{message:?}")).collect()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        leave(py, !kind.is_none(), self.close(py).map(drop))
    }

    fn __repr__(&self) -> String {
        let (width, height, device, name) = (self.width, self.height, self.device(), self.device_name());
        format!("View({width}, {height}, device='{device}', device_name='{name}')")
    }
}
