//! [`Screen`]: shared slots for tensors, and the `bridge_view` view that draws them.

pub(crate) mod address;
pub(crate) mod copy;
pub(crate) mod device;
pub(crate) mod order;
mod rows;
pub(crate) mod slots;

use std::sync::OnceLock;
use std::time::Duration;

use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, OpenInfo, RenderFirst, RenderTurn, Validation,
};
use bridge_view::{Drawn, Look, PointLook, View, ViewInfo, Window, WindowState};

use crate::error::{Fault, Kind};
use crate::fault::to_fault;
use crate::screen::copy::{Copier, Wait};
use crate::screen::device::Wanted;
use crate::screen::order::check_streams;
use crate::screen::slots::{Attribute, Format, Slots};
use crate::tensor::dtype::DType;
use crate::tensor::{TensorView, tuple};

/// Default limit of waits on the host; see [`TIMEOUT`].
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Environment variable for that limit, in seconds, since frames may take longer with software
/// drivers.
const TIMEOUT: &str = "VKVIEW_TIMEOUT";
/// Environment variable that enables the validation layer for views, for the package's tests.
const VALIDATION: &str = "VKVIEW_VALIDATION";

/// A computed frame that is drawn next.
type Frame = RenderTurn<BufferSpec<u8>>;

/// How a frame is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scene {
    Image(Look),
    Points(PointLook),
}

/// The slots, and the view that draws them. Field order is drop order: the view waits for its
/// frames first.
pub(crate) struct Screen {
    view: View,
    slots: Option<Slots>,
    /// Slots for reading the picture.
    output: Option<Exchange<BufferSpec<u8>, RenderFirst>>,
    copier: Copier,
    /// `true` if a frame was passed to the view.
    shown: bool,
}

/// Returns the limit of waits on the host.
pub(crate) fn limit() -> Duration {
    static ASKED: OnceLock<Duration> = OnceLock::new();
    *ASKED.get_or_init(|| {
        let Some(asked) = std::env::var_os(TIMEOUT) else { return LIMIT };
        let seconds = asked.to_str().and_then(|text| text.parse().ok());
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_else(|| {
            log::warn!("{TIMEOUT} is {}, which is not a number of seconds: waits end after {LIMIT:?}", asked.display());
            LIMIT
        })
    })
}

impl Screen {
    /// Opens a new device and a screen on it. The picture is shown in `window`, if any.
    pub(crate) fn open(
        size: [u32; 2],
        backend: Backend,
        device: &Wanted,
        window: Option<Window>,
    ) -> Result<Self, Fault> {
        let asked = std::env::var_os(VALIDATION).is_some_and(|value| value != "0");
        let validation = if asked { Validation::Required } else { Validation::Off };
        let surface = window.as_ref().map(Window::instance_extensions).transpose()?.unwrap_or_default();
        let swapchain: &[_] = if window.is_some() { Window::DEVICE_EXTENSIONS } else { &[] };
        let info = OpenInfo {
            application_name: "vkview",
            device: device.selector()?,
            validation,
            instance_extensions: &surface,
            device_extensions: swapchain,
            ..OpenInfo::default()
        };
        let compute = device::open(&info, backend)?;
        let info = ViewInfo { size, timeout: limit() };
        let view = match window {
            Some(window) => View::in_window(&compute, &info, window),
            None => View::headless(&compute, &info),
        }?;
        Ok(Self { view, slots: None, output: None, copier: Copier::default(), shown: false })
    }

    pub(crate) fn compute(&self) -> &Compute {
        self.view.compute()
    }

    /// Returns the state of the window, if there is one.
    pub(crate) fn window(&self) -> Option<WindowState> {
        self.view.window()
    }

    /// Copies the tensor into a slot, to be drawn next. After this returns, work that the producer
    /// enqueues may write the tensor's memory; see [`Copier::copy`].
    pub(crate) fn image(&mut self, tensor: &mut TensorView, look: Look) -> Result<(), Fault> {
        let format = Format::of(tensor)?;
        self.take(&mut [tensor], format, Scene::Image(look))
    }

    /// Like [`image`](Self::image), for points, whose values or colors may be a separate tensor.
    pub(crate) fn points(
        &mut self,
        tensor: &mut TensorView,
        own: Option<(&mut TensorView, Attribute)>,
        look: PointLook,
    ) -> Result<(), Fault> {
        let scene = Scene::Points(look);
        match own {
            None => {
                let format = Format::of_points(tensor)?;
                self.take(&mut [tensor], format, scene)
            }
            Some((own, what)) => {
                let format = Format::of_points_with(tensor, own, what)?;
                self.take(&mut [tensor, own], format, scene)
            }
        }
    }

    /// Copies the tensors into a slot, one after the other.
    fn take(&mut self, tensors: &mut [&mut TensorView], format: Format, scene: Scene) -> Result<(), Fault> {
        tensors.iter().try_for_each(|tensor| check_streams(self.view.compute(), &tensor.producer))?;
        let slots = match self.slots.take() {
            // Images and points may have the same format.
            Some(slots) if slots.format() == format && slots.access() == self.access(scene) => slots,
            other => {
                self.view.skip();
                // Frees the old slots, which waits for their frames.
                drop(other);
                Slots::with_access(self.view.compute(), "tensor", format, self.access(scene))?
            }
        };
        let slots = self.slots.insert(slots);
        let turn = slots.begin()?;
        let frame = self.copier.copy(self.view.compute(), turn, tensors)?;
        self.show(frame, format, scene)
    }

    /// Returns Vulkan's accesses to the slots of the scene. A window copies points, to draw them
    /// again.
    fn access(&self, scene: Scene) -> BufferAccess {
        match (scene, self.view.window()) {
            (Scene::Points(_), Some(_)) => BufferAccess::COMPUTE_READ | BufferAccess::TRANSFER_READ,
            _ => BufferAccess::COMPUTE_READ,
        }
    }

    /// Selects the frame to draw next, replacing a frame that has not been drawn.
    pub(crate) fn show(&mut self, frame: Frame, format: Format, scene: Scene) -> Result<(), Fault> {
        match scene {
            Scene::Image(look) => self.view.show_image(frame, format.image()?, &look)?,
            Scene::Points(look) => self.view.show_points(frame, format.points()?, &look)?,
        }
        self.shown = true;
        Ok(())
    }

    /// Submits the drawing of the newest frame, and presents the picture if the window has an image
    /// available.
    pub(crate) fn draw(&mut self) -> Result<Drawn, Fault> {
        Ok(self.view.draw_and_present()?)
    }

    /// Omits the wait from now on, for negative controls.
    pub(crate) fn leave_out(&mut self, wait: Option<Wait>) {
        self.copier.leave_out = wait;
    }

    /// Waits until all drawing has finished.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        Ok(self.view.finish()?)
    }

    /// Waits for the frames in flight and frees the slots. Nothing can be drawn afterwards.
    pub(crate) fn drain(&mut self) -> Result<(), Fault> {
        let ended = self.view.drain();
        self.slots = None;
        self.output = None;
        Ok(ended?)
    }

    /// Copies the picture into memory of its size: rows from top to bottom, with four bytes per
    /// pixel. Black before the first frame.
    pub(crate) fn pixels(&mut self, target: &mut [u8]) -> Result<(), Fault> {
        self.warn_of_black();
        Ok(self.view.pixels_into(target)?)
    }

    /// Returns the picture as a PNG file.
    pub(crate) fn png(&mut self) -> Result<Vec<u8>, Fault> {
        self.warn_of_black();
        Ok(self.view.png()?)
    }

    /// Logs a warning if a frame was shown but `draw` was never called.
    fn warn_of_black(&self) {
        if self.shown && !self.view.has_drawn() {
            log::warn!("the picture is black: a frame was shown, and none has been drawn; call draw() first");
        }
    }

    /// Copies the picture into a tensor of bytes with shape (height, width, 4); see
    /// [`Copier::copy_out`].
    pub(crate) fn read(&mut self, tensor: &mut TensorView) -> Result<(), Fault> {
        let [width, height] = self.view.size();
        let shape = [height, width, 4];
        if tensor.dtype != DType::U8 || tensor.shape != shape.map(|side| side as usize) {
            let reason = format!("the picture is uint8 {}, the tensor {}", tuple(&shape), tensor.describe());
            return Err(Fault::new(Kind::Shape, reason));
        }
        if tensor.planar {
            let reason =
                "the tensor's channels come first in memory: read into a contiguous tensor and copy that into this one";
            return Err(Fault::new(Kind::Layout, reason));
        }
        if tensor.read_only {
            return Err(Fault::new(Kind::Layout, "the tensor is read-only: the picture cannot be copied into it"));
        }
        if !self.view.has_drawn() {
            return Err(bridge_view::Error::NothingDrawn.into());
        }
        let compute = self.view.compute().clone();
        check_streams(&compute, &tensor.producer)?;
        let output = match &mut self.output {
            Some(output) => output,
            none => {
                let spec = BufferSpec::new(tensor.size(), BufferAccess::TRANSFER_WRITE);
                let info = ExchangeInfo { name: "read", timeout: limit(), ..ExchangeInfo::default() };
                none.insert(Exchange::render_first(&compute, &info, spec).map_err(to_fault)?)
            }
        };
        let frame = match output.begin() {
            Err(error @ bridge::Error::TurnLost { .. }) => {
                log::warn!("{error}");
                output.begin()
            }
            begun => begun,
        };
        let turn = self.view.read(frame.map_err(to_fault)?)?;
        self.copier.copy_out(&compute, turn, tensor)
    }
}
