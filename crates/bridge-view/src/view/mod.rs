//! [`View`], which draws frames in shared slots into a picture, and can show it in a window.

// Manual drops.
#![allow(unsafe_code)]

mod draw;
mod output;
mod read_back;
#[cfg_attr(not(feature = "window"), path = "headless.rs")]
mod screen;
mod show;

use std::mem::ManuallyDrop;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, ExportDevice};
use bridge_trace::log_error;
use vk_local::{LocalBuffer, MemoryLocation};

use crate::draw::pipeline::Pipelines;
use crate::draw::ring::Ring;
use crate::error::{Error, Result};
use crate::format::{ImageFormat, PointFormat, Texels, check_sides};
use crate::frame::Turn;
use crate::look::{Look, PointLook};
use crate::rate::Rate;
use crate::view::read_back::ReadBack;
use crate::view::screen::Screen;

pub use crate::view::draw::Drawn;
pub use crate::view::output::PictureSlot;

/// Bytes per pixel: red, green, blue, alpha.
const PIXEL: u64 = 4;

/// Configuration of a [`View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// Width and height of the picture in pixels, each from 1 to [`MAX_SIDE`](crate::MAX_SIDE).
    /// Default: 1280 x 720.
    pub size: [u32; 2],
    /// The limit of every wait on the host. Default: 10 seconds. Frames may take longer with
    /// software drivers.
    pub timeout: Duration,
}

impl Default for ViewInfo {
    fn default() -> Self {
        Self { size: [1280, 720], timeout: Duration::from_secs(10) }
    }
}

/// Format and appearance of a frame.
#[derive(Clone, Copy, Debug)]
enum Content {
    Image(ImageFormat, Look),
    Texture(Texels, Look),
    Points(PointFormat, PointLook),
}

/// Draws images and points from shared memory into a picture, and shows it in a window if it has
/// one.
///
/// [`show_image`](Self::show_image), [`show_texture`](Self::show_texture) or
/// [`show_points`](Self::show_points) selects a frame, and the next [`draw`](Self::draw) draws it
/// on the GPU, without a copy. The picture has four bytes per pixel. Read it with
/// [`pixels`](Self::pixels), write it to a file with [`save_png`](Self::save_png), or hand it to
/// the compute side with [`read`](Self::read).
///
/// The host waits only while three frames are in flight, and with the CPU backend while there is a
/// window, see [`draw`](Self::draw). A window never delays the GPU: it shows the newest picture for
/// which it has an image available.
///
/// Dropping a view waits for its frames, for at most [`ViewInfo::timeout`]. Objects that may still
/// be in use after that are leaked.
pub struct View {
    // Field order is drop order, after `Drop` has waited for the GPU. The screen reads the picture.
    screen: Screen,
    pending: Option<(Box<dyn Turn>, Content)>,
    // Objects that commands use are only dropped by `Drop`, or leaked if the commands may still
    // run.
    ring: ManuallyDrop<Ring>,
    pipelines: ManuallyDrop<Pipelines>,
    picture: ManuallyDrop<LocalBuffer>,
    /// Depth buffer for points: one word per pixel.
    depths: ManuallyDrop<Option<LocalBuffer>>,
    /// Created when the picture is first read on the host.
    read_back: Option<ReadBack>,
    /// The error of a wait after which commands may still be running.
    stuck: Option<String>,
    drawn: bool,
    rate: Rate,
    size: [u32; 2],
    limit: Duration,
    compute: Compute,
}

impl View {
    /// Opens a view without a window, for frames of exchanges on this compute side.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::TooLarge`] for an invalid size, or the error of the
    /// failed driver call.
    pub fn headless(compute: &Compute, info: &ViewInfo) -> Result<Self> {
        Self::new(compute, info, |device, _| Ok(Screen::none(device)))
    }

    fn new(
        compute: &Compute,
        info: &ViewInfo,
        screen: impl FnOnce(&ExportDevice, &Pipelines) -> Result<Screen>,
    ) -> Result<Self> {
        let ViewInfo { size: [width, height], timeout } = *info;
        let object = || format!("a view of {width}x{height} pixels");
        check_sides(object, [width, height])?;
        let device = compute.device();
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC;
        let size = u64::from(width) * u64::from(height) * PIXEL;
        check_range(device, size, object)?;
        let picture = LocalBuffer::new(device, "picture", size, usage, MemoryLocation::GpuOnly)?;
        let pipelines = Pipelines::new(device)?;
        let ring = Ring::new(device, device.queue().family(), &pipelines)?;
        let screen = screen(device, &pipelines)?;
        Ok(Self {
            screen,
            pending: None,
            ring: ManuallyDrop::new(ring),
            pipelines: ManuallyDrop::new(pipelines),
            picture: ManuallyDrop::new(picture),
            depths: ManuallyDrop::new(None),
            read_back: None,
            stuck: None,
            drawn: false,
            rate: Rate::new(),
            size: [width, height],
            limit: timeout,
            compute: compute.clone(),
        })
    }

    /// Returns the compute side that the view was opened for.
    pub fn compute(&self) -> &Compute {
        &self.compute
    }

    /// Returns the width and height of the picture in pixels.
    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Waits until all drawing has finished.
    ///
    /// # Errors
    /// [`Error::Bridge`] after the timeout, or if a device is lost. If only the CUDA context is
    /// lost, the error is returned after the drawing has ended.
    pub fn finish(&mut self) -> Result<()> {
        self.ring.wait(self.limit)
    }

    /// Returns a frame that was not drawn to its exchange, and waits for the frames in flight and
    /// for presentation. Dropping the view does the same, but cannot return the error.
    ///
    /// # Errors
    /// The errors of [`finish`](Self::finish). In that case the objects that the frames use are
    /// leaked with the view, unless a device is lost.
    pub fn drain(&mut self) -> Result<()> {
        self.skip();
        let (ended, waited) = self.settle();
        if let (false, Err(error)) = (ended, &waited) {
            self.stuck = Some(error.to_string());
        }
        waited
    }

    /// Waits for the frames in flight and for presentation. Returns whether all commands have
    /// ended, and the error of the wait.
    fn settle(&mut self) -> (bool, Result<()>) {
        // Waits for the frames first: presentation follows them on the queue, and this wait
        // unblocks the queue if the compute side is lost.
        let drawn = self.finish();
        // Presentation uses the same objects.
        let presented = self.screen.wait();
        let shown = presented.as_ref().err().is_none_or(Error::is_end_of_vulkan);
        (shown && !self.ring.is_busy(), drawn.and(presented))
    }

    /// Notes that commands may still be running, unless the Vulkan device is lost.
    fn note_stuck(&mut self, error: &Error) {
        if !error.is_end_of_vulkan() {
            self.stuck = Some(error.to_string());
        }
    }

    /// Returns the selected frame to its exchange, if it has not been drawn.
    pub fn skip(&mut self) {
        if let Some((frame, _)) = self.pending.take() {
            frame.skip();
        }
    }

    /// Returns `true` if a frame has been drawn.
    pub fn has_drawn(&self) -> bool {
        self.drawn
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.skip();
        if self.stuck.is_none() {
            // `drain` stores the error in `stuck`, if it matters.
            let _ = self.drain();
        }
        if let Some(error) = &self.stuck {
            // The leaked objects keep the device alive, so it is not destroyed either.
            log_error!(
                "the resources that the commands of a view use are leaked, since the commands may still be running: \
                 {error}"
            );
            self.screen.keep_order();
            return;
        }
        // SAFETY: the object is not used after this drop, and all commands that use it have ended.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.pipelines) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.picture) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.depths) };
        self.screen.free();
        self.screen.release_order();
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [width, height] = self.size;
        write!(f, "View({width}x{height} on {})", self.compute.device().name())
    }
}

/// Checks that a buffer of `size` bytes can be bound as a whole.
fn check_range(device: &ExportDevice, size: u64, object: impl FnOnce() -> String) -> Result<()> {
    let limit = u64::from(device.physical().limits.max_storage_buffer_range);
    if size <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { object: object(), size, limit, device: device.name().to_owned() })
}
