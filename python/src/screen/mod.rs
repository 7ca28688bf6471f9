//! What a view draws: tensors in shared slots, drawn into a picture, which a window may show.

// Vulkan calls, and mapped memory.
#![allow(unsafe_code)]

pub(crate) mod address;
pub(crate) mod camera;
pub(crate) mod copy;
pub(crate) mod output;
pub(crate) mod pipeline;
pub(crate) mod ring;
mod shown;
pub(crate) mod slots;

use std::mem::ManuallyDrop;
use std::sync::OnceLock;
use std::time::Duration;

use bridge::ash::{khr, vk};
use bridge::{
    Backend, BufferSpec, Compute, DeviceSelector, Exchange, ExportDevice, OpenInfo, RenderFirst, RenderTurn, Validation,
};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Fault, Kind};
use crate::screen::camera::Camera;
use crate::screen::copy::{Copier, Wait, refuse_captured};
use crate::screen::pipeline::{ImageParams, Params, Pipelines, PointParams, failed};
use crate::screen::ring::Ring;
use crate::screen::shown::{Kept, record_keeping};
use crate::screen::slots::{Format, Slots};
use crate::tensor::TensorView;
use crate::window::OpenWindow;
use crate::window::present::Presenter;

/// The limit of every wait on the host, unless [`TIMEOUT`] names another.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// An environment variable with that limit in seconds: frames of software drivers may take longer.
const TIMEOUT: &str = "VKVIEW_TIMEOUT";
/// The largest side of a view.
pub(crate) const MAX_SIDE: u32 = 16384;
/// An environment variable by which views ask for the validation layer.
const VALIDATION: &str = "VKVIEW_VALIDATION";
/// Bytes of a pixel: red, green, blue, alpha.
const PIXEL: u64 = 4;

/// A frame that has been computed, and is drawn next.
type Frame = RenderTurn<BufferSpec<u8>>;

/// Conversion of values to colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Values are multiplied by 2 to the power of it.
    pub(crate) exposure: f32,
    /// Values are linear, and are encoded as sRGB.
    pub(crate) linear: bool,
    /// One channel is coloured by viridis.
    pub(crate) viridis: bool,
}

/// Camera, size and colour of points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointLook {
    pub(crate) camera: Camera,
    /// Pixels a side.
    pub(crate) size: u32,
    /// Red, green, blue, alpha of those without.
    pub(crate) colour: [u8; 4],
}

/// The way in which a frame is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scene {
    Image(Look),
    Points(PointLook),
}

/// Slots, and the picture that they are drawn into. Field order is drop order; `Drop` waits for the
/// GPU first.
pub(crate) struct Screen {
    /// Reads the picture.
    presenter: Option<Presenter>,
    pending: Option<(Frame, Format, Scene)>,
    slots: Option<Slots>,
    /// Slots that the picture is read through.
    output: Option<Exchange<BufferSpec<u8>, RenderFirst>>,
    copier: Copier,
    // Objects of commands are dropped by `Drop` alone: leaked, if the commands may still run.
    ring: ManuallyDrop<Ring>,
    pipelines: ManuallyDrop<Pipelines>,
    picture: ManuallyDrop<LocalBuffer>,
    /// Of points: a word a pixel.
    depths: ManuallyDrop<Option<LocalBuffer>>,
    /// Of points in a window.
    kept: ManuallyDrop<Option<Kept>>,
    /// The error of a wait for commands that were not seen to end.
    stuck: Option<Fault>,
    drained: bool,
    drawn: bool,
    width: u32,
    height: u32,
    compute: Compute,
}

/// The limit of every wait on the host.
pub(crate) fn limit() -> Duration {
    static ASKED: OnceLock<Duration> = OnceLock::new();
    *ASKED.get_or_init(|| {
        let Some(asked) = std::env::var_os(TIMEOUT) else { return LIMIT };
        let seconds = asked.to_str().and_then(|text| text.parse().ok());
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_else(|| {
            log::warn!("{TIMEOUT} is {}, which is no number of seconds: waits end after {LIMIT:?}", asked.display());
            LIMIT
        })
    })
}

/// An error of the bridge, as an exception.
pub(crate) fn told(error: bridge::Error) -> Fault {
    let kind = match error {
        bridge::Error::TurnOpen { .. } | bridge::Error::SlotBusy { .. } => Kind::Usage,
        _ => Kind::Driver,
    };
    Fault::new(kind, error)
}

impl Screen {
    /// Opens a device of its own. `device` is a number, a UUID or a part of a name. The picture is
    /// shown in `window`.
    pub(crate) fn open(
        [width, height]: [u32; 2],
        backend: Backend,
        device: Option<&str>,
        window: Option<OpenWindow>,
    ) -> Result<Self, Fault> {
        let selector = match device {
            // Parsing cannot fail: what is neither a number nor a UUID is a name.
            Some(text) => text.parse().unwrap_or(DeviceSelector::Best),
            None => DeviceSelector::Best,
        };
        let asked = std::env::var_os(VALIDATION).is_some_and(|value| value != "0");
        let validation = if asked { Validation::Required } else { Validation::Off };
        let surface = window.as_ref().map(OpenWindow::instance_extensions).transpose()?.unwrap_or_default();
        let swapchain: &[_] = if window.is_some() { &[khr::swapchain::NAME] } else { &[] };
        let info = OpenInfo {
            application_name: "vkview",
            device: selector,
            validation,
            instance_extensions: &surface,
            device_extensions: swapchain,
            ..OpenInfo::default()
        };
        let device = ExportDevice::open(&info).map_err(|error| Fault::new(Kind::Unavailable, error))?;
        let compute = Compute::new(&device, backend).map_err(|error| Fault::new(Kind::Unavailable, error))?;
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC;
        let size = u64::from(width) * u64::from(height) * PIXEL;
        check_range(&device, size, || format!("a view of {width}x{height} pixels"))?;
        let made = |error: vk_local::Error| Fault::new(Kind::Driver, error);
        let picture = LocalBuffer::new(&device, "picture", size, usage, MemoryLocation::GpuOnly).map_err(made)?;
        let pipelines = Pipelines::new(&device)?;
        let ring = Ring::new(&device, device.queue().family(), &pipelines)?;
        let copier = Copier::default();
        let presenter = window.map(|window| Presenter::new(&device, window, &pipelines)).transpose()?;
        Ok(Self {
            presenter,
            pending: None,
            slots: None,
            output: None,
            copier,
            ring: ManuallyDrop::new(ring),
            pipelines: ManuallyDrop::new(pipelines),
            picture: ManuallyDrop::new(picture),
            depths: ManuallyDrop::new(None),
            kept: ManuallyDrop::new(None),
            stuck: None,
            drained: false,
            drawn: false,
            width,
            height,
            compute,
        })
    }

    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Copies the tensor into a slot, to be drawn next. Once this has returned, the tensor's memory
    /// may be written by work that its producer enqueues; see [`Copier::copy`].
    pub(crate) fn image(&mut self, tensor: &mut TensorView, look: Look) -> Result<(), Fault> {
        let format = Format::of(tensor)?;
        self.take(tensor, format, Scene::Image(look))
    }

    /// As [`image`](Self::image), of points.
    pub(crate) fn points(&mut self, tensor: &mut TensorView, look: PointLook) -> Result<(), Fault> {
        let format = Format::of_points(tensor)?;
        if self.depths.is_none() {
            let made = |error: vk_local::Error| Fault::new(Kind::Driver, error);
            let (usage, size) = (vk::BufferUsageFlags::STORAGE_BUFFER, self.picture.size());
            let device = self.compute.device();
            *self.depths =
                Some(LocalBuffer::new(device, "depths", size, usage, MemoryLocation::GpuOnly).map_err(made)?);
        }
        self.take(tensor, format, Scene::Points(look))
    }

    fn take(&mut self, tensor: &mut TensorView, format: Format, scene: Scene) -> Result<(), Fault> {
        refuse_captured(&self.compute, &tensor.producer)?;
        let slots = match self.slots.take() {
            // Images and points may be of one format.
            Some(slots) if slots.format() == format && slots.access() == self.access(scene) => slots,
            other => {
                self.skip_pending();
                // Frees the old ones, which waits for them.
                drop(other);
                Slots::with_access(&self.compute, "tensor", format, self.access(scene))?
            }
        };
        let slots = self.slots.insert(slots);
        let turn = slots.begin()?;
        let frame = self.copier.copy(&self.compute, turn, tensor)?;
        self.show(frame, format, scene);
        Ok(())
    }

    /// Draws this frame next, in place of one that has not been drawn.
    pub(crate) fn show(&mut self, frame: Frame, format: Format, scene: Scene) {
        self.skip_pending();
        self.pending = Some((frame, format, scene));
    }

    fn skip_pending(&mut self) {
        if let Some((frame, ..)) = self.pending.take() {
            frame.skip();
        }
    }

    /// Submits drawing the newest frame; nothing if there is none since the last time. Waits on the
    /// host only where [`FRAMES`](ring::FRAMES) frames are unfinished.
    pub(crate) fn draw(&mut self) -> Result<bool, Fault> {
        let Some((frame, format, scene)) = self.pending.take() else { return Ok(false) };
        let picture = [self.width, self.height];
        let params = params(self.moved(scene), format, picture);
        let keeps = match self.make_room_for(format, scene) {
            Ok(keeps) => keeps,
            Err(fault) => {
                frame.skip();
                return Err(fault);
            }
        };
        // Images leave the third binding alone.
        let depths = self.depths.as_ref().unwrap_or(&self.picture).as_raw();
        let raw = self.compute.device().as_raw().clone();
        let slot = frame.resources().as_raw();
        let source = keeps.unwrap_or(slot);
        // SAFETY: all are storage buffers: `Slots`, `open` and `points` ask for that usage.
        let recording = unsafe { self.ring.begin(limit(), [source, self.picture.as_raw(), depths]) };
        let recording = match recording {
            Ok(recording) => recording,
            Err(fault) => {
                frame.skip();
                return Err(fault);
            }
        };
        let commands = recording.commands;
        // SAFETY: recording, for the family of the graphics queue, outside of a render pass.
        unsafe { frame.record_acquire(commands) };
        // The frame before writes the picture, or a copy reads it.
        let before = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE);
        let users = vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::TRANSFER;
        let draws = vk::PipelineStageFlags::COMPUTE_SHADER;
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
        unsafe {
            raw.cmd_pipeline_barrier(commands, users, draws, vk::DependencyFlags::empty(), &[before], &[], &[]);
        }
        if let Some(kept) = keeps {
            // SAFETY: recording; the slot is acquired, to be copied from, and both have the format's size.
            unsafe { record_keeping(&raw, commands, slot, kept, format.size()) };
        }
        // SAFETY: the set was bound to the buffers above; the ring is waited for before they go.
        unsafe { self.pipelines.record(commands, recording.set, params) };
        // SAFETY: as the acquire.
        unsafe { frame.record_release(commands) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since `begin`.
        if let Err(code) = unsafe { raw.end_command_buffer(commands) } {
            frame.skip();
            return Err(failed("vkEndCommandBuffer")(code));
        }
        // SAFETY: the commands acquire and release the slot, and live until the ring has seen the
        // point.
        let point = unsafe { frame.submit(&[commands]) }.map_err(told)?;
        self.ring.submitted(recording, point);
        self.drawn = true;
        self.note_kept(keeps.and(Some(scene)));
        Ok(true)
    }

    /// For negative controls: the wait is not enqueued from now on.
    pub(crate) fn leave_out(&mut self, wait: Option<Wait>) {
        self.copier.leave_out = wait;
    }

    /// Waits until what was drawn is finished.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.ring.wait(limit())
    }

    /// Waits for the frames in flight and gives the slots back. Nothing is drawn afterwards.
    pub(crate) fn drain(&mut self) -> Result<(), Fault> {
        self.drained = true;
        self.skip_pending();
        // Presenting draws from the same objects.
        let presented = self.presenter.as_mut().map_or(Ok(()), Presenter::wait);
        let ended = self.finish().and(presented);
        if let Err(fault) = &ended {
            self.stuck = Some(fault.clone());
        }
        self.slots = None;
        self.output = None;
        ended
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !self.drained {
            // The error is kept in `stuck`.
            let _ = self.drain();
        }
        if let Some(fault) = &self.stuck {
            // They keep the device, which cannot be destroyed either.
            log::error!("what the commands of a view use is leaked, since they were not seen to end: {fault}");
            return;
        }
        // SAFETY: not used after this drop, and by no command: all were seen to end.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.pipelines) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.picture) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.depths) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.kept) };
    }
}

/// What the shader is told.
fn params(scene: Scene, format: Format, picture: [u32; 2]) -> Params {
    match scene {
        Scene::Image(look) => Params::Image(ImageParams {
            source: [format.width, format.height],
            picture,
            channels: format.channels,
            kind: format.kind(),
            gain: look.exposure.exp2(),
            flags: u32::from(look.linear) | (u32::from(look.viridis) << 1),
        }),
        Scene::Points(look) => Params::Points(PointParams {
            camera: look.camera.matrix(picture),
            count: format.width,
            channels: format.channels,
            picture,
            size: look.size,
            colour: u32::from_le_bytes(look.colour),
        }),
    }
}

/// That a buffer of `size` bytes can be bound whole.
pub(crate) fn check_range(device: &ExportDevice, size: u64, what: impl FnOnce() -> String) -> Result<(), Fault> {
    let most = u64::from(device.physical().limits.max_storage_buffer_range);
    if size <= most {
        return Ok(());
    }
    let reason = format!("{} takes {size} bytes, but {} reads at most {most} at once", what(), device.name());
    Err(Fault::new(Kind::Shape, format!("{reason} (maxStorageBufferRange)")))
}
