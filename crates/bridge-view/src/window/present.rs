//! [`Presenter`], which shows a view's picture in its window.

// Vulkan calls.
#![allow(unsafe_code)]

use std::mem::forget;
use std::sync::Arc;
use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::vk;
use bridge_trace::{log_error, log_warn};
use vk_local::{LocalImage, LocalImageInfo};

use crate::draw::pipeline::Pipelines;
use crate::error::{Error, Result};
use crate::window::Window;
use crate::window::input::{Orbit, State};
use crate::window::order::{PresentOrder, Presenting};
use crate::window::parts::Parts;
use crate::window::places::Places;
use crate::window::record::WindowContent;
use crate::window::surface::{Failed, Surface};

/// Maximum number of times that the surface may be lost between two presented pictures.
const LOSSES: u32 = 3;

/// Presents a view's picture to a window. Dropping it waits for presentation, with a limit, and
/// closes the window.
pub(crate) struct Presenter {
    /// `None` only during drop.
    parts: Option<Parts>,
    state: Arc<State>,
    size: [u32; 2],
    /// `true` if the images have the size of the window.
    fits: bool,
    /// `true` if the window shows something other than the current picture.
    stale: bool,
    losses: u32,
    /// `None` once the window is closed, since nothing more is presented then.
    presenting: Option<Presenting>,
    limit: Duration,
    device: ExportDevice,
}

/// Checks that the device's queue can scale pictures: that needs blits
/// (VUID-vkCmdBlitImage-commandBuffer-cmdpool), which not all queues that can present support.
fn check_queue(device: &ExportDevice) -> Result<()> {
    if device.queue().stages().is_none() {
        return Ok(());
    }
    let reason = "its queue does not support graphics, which is required to scale pictures to the window; adopt the \
        device with a graphics queue";
    Err(Error::CannotPresent { device: device.name().to_owned(), reason: reason.to_owned() })
}

impl Presenter {
    /// Creates a presenter for a picture of `size`. Waits for frames that views have drawn on the
    /// queue without a window. Waits time out after `limit`.
    pub(crate) fn new(
        device: &ExportDevice,
        window: Window,
        pipelines: &Pipelines,
        size: [u32; 2],
        limit: Duration,
    ) -> Result<Self> {
        check_queue(device)?;
        // SAFETY: the window is dropped after the surface, due to the order of the fields.
        let surface = unsafe { Surface::new(device, &window.handle) }?;
        let [width, height] = size;
        let info = LocalImageInfo {
            name: "shown picture",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: vk::Extent2D { width, height },
            // SAMPLED because `LocalImage` creates a view of the image.
            usage: vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::SAMPLED,
        };
        let cannot = |error: vk_local::Error| Error::CannotPresent {
            device: device.name().to_owned(),
            reason: format!("{error}"),
        };
        let image = LocalImage::new(device, &info).map_err(cannot)?;
        let state = window.state.clone();
        let parts = Parts {
            places: Places::new(device, pipelines)?,
            swapchain: None,
            surface: Some(surface),
            surface_is_lost: false,
            image,
            window,
        };
        let presenting = Some(PresentOrder::present(device, limit)?);
        let (parts, device) = (Some(parts), device.clone());
        Ok(Self { parts, state, size, fits: false, stale: true, losses: 0, presenting, limit, device })
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Notes that nothing more is presented, if the window is closed.
    pub(crate) fn end_if_closed(&mut self) {
        if self.state.is_closed() {
            self.presenting = None;
        }
    }

    /// Returns `true` if this crate's event loop handles the window's events.
    pub(crate) fn handles_events(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.window.handle.is_opened())
    }

    /// Returns the user's changes to the camera.
    pub(crate) fn orbit(&self) -> Orbit {
        self.state.orbit()
    }

    /// Waits until presentation has completed, with a limit.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.parts.as_mut().map_or(Ok(()), |parts| parts.places.wait(self.limit))
    }

    /// Notes that a submitted frame changes the picture, and shows the frame rate in the title if
    /// there is a new measurement.
    pub(crate) fn note_drawn(&mut self, rate: Option<f64>) {
        self.stale = true;
        if let (Some(rate), Some(parts)) = (rate.filter(|_| !self.state.is_closed()), &self.parts) {
            let title = format!("{} ({rate:.0} frames/s)", parts.window.info.title);
            parts.window.handle.set_title(&title);
        }
    }

    /// Presents the picture, if the window does not show it already and has an image available now;
    /// otherwise the next call tries again. Does not wait. Returns `true` if the picture was
    /// presented.
    ///
    /// # Safety
    /// The objects in `shown` belong to this device, and live until this presenter is dropped. The
    /// picture has four bytes for each pixel of the view, can be copied from, and is only written
    /// on the device's queue.
    pub(crate) unsafe fn present(&mut self, shown: WindowContent<'_>) -> Result<bool> {
        let changes = self.state.take_changes();
        self.fits &= !changes.resized;
        self.stale |= changes.resized || changes.uncovered || shown.redraw.is_some();
        let Some(parts) = &mut self.parts else { return Ok(false) };
        if changes.closed {
            self.presenting = None;
            parts.window.handle.hide();
            return Ok(false);
        }
        if changes.hidden || !self.stale {
            return Ok(false);
        }
        // SAFETY: the caller upholds the contract.
        match unsafe { parts.show(&self.device, shown, self.size, &mut self.fits) } {
            Ok(presented) => {
                self.stale = !presented;
                self.losses *= u32::from(!presented);
                Ok(presented)
            }
            Err(Failed::OutOfDate) => {
                self.fits = false;
                Ok(false)
            }
            Err(Failed::SurfaceLost) if self.losses < LOSSES => {
                self.losses += 1;
                self.fits = false;
                parts.surface_is_lost = true;
                log_warn!("the surface of a view's window was lost and is created again");
                Ok(false)
            }
            Err(Failed::SurfaceLost) => Err(Error::SurfaceLost { times: LOSSES }),
            Err(Failed::Error(error)) => Err(error),
        }
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        if let Err(error) = parts.places.wait(self.limit) {
            forget(parts);
            log_error!("a view's window is leaked, since the GPU may be using it: {error}");
        }
    }
}
