//! The picture's way into its window.

// Vulkan calls.
#![allow(unsafe_code)]

use std::mem::{forget, take};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::ExportDevice;
use bridge::ash::vk;
use vk_local::{LocalImage, LocalImageInfo};

use crate::error::{Fault, Kind};
use crate::screen::limit;
use crate::screen::pipeline::Pipelines;
use crate::window::OpenWindow;
use crate::window::guard::guarded;
use crate::window::input::{Orbit, State};
use crate::window::parts::Parts;
use crate::window::places::Places;
use crate::window::record::Shown;
use crate::window::surface::{Failed, Surface};

/// How often the surface may be lost between two pictures that are shown.
const LOSSES: u32 = 3;
/// How often the title tells the frame rate.
const RATE: Duration = Duration::from_secs(1);

/// Shows a view's picture in a window. Dropping it waits for what was presented, with a limit, and
/// closes the window.
pub(crate) struct Presenter {
    /// `None` only while it is dropped.
    parts: Option<Parts>,
    state: Arc<State>,
    size: [u32; 2],
    /// Whether the images of the window have its size.
    fits: bool,
    /// Whether the window shows something else than the picture.
    stale: bool,
    losses: u32,
    drawn: u32,
    told: Instant,
    device: ExportDevice,
}

impl Presenter {
    /// For a window that the device was opened for, with its extensions and `VK_KHR_swapchain`.
    pub(crate) fn new(device: &ExportDevice, window: OpenWindow, pipelines: &Pipelines) -> Result<Self, Fault> {
        let size = window.wanted.size;
        // SAFETY: the window is dropped after the surface, see the order of the fields; the
        // extensions are there, as documented.
        let surface = unsafe { Surface::new(device, &window.window) }?;
        let [width, height] = size;
        let info = LocalImageInfo {
            name: "shown picture",
            format: vk::Format::R8G8B8A8_UNORM,
            extent: vk::Extent2D { width, height },
            // Sampled, for such an image is made with a view.
            usage: vk::ImageUsageFlags::TRANSFER_SRC | vk::ImageUsageFlags::TRANSFER_DST | vk::ImageUsageFlags::SAMPLED,
        };
        let image = LocalImage::new(device, &info).map_err(|error| Fault::new(Kind::Unavailable, error))?;
        let state = window.state().clone();
        let parts = Parts {
            places: Places::new(device, pipelines)?,
            swapchain: None,
            surface: Some(surface),
            surface_is_lost: false,
            image,
            window,
        };
        Ok(Self {
            parts: Some(parts),
            state,
            size,
            fits: false,
            stale: true,
            losses: 0,
            drawn: 0,
            told: Instant::now(),
            device: device.clone(),
        })
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// How far the user has moved the camera.
    pub(crate) fn orbit(&self) -> Orbit {
        self.state.orbit()
    }

    /// Waits until what was presented is done, with a limit.
    pub(crate) fn wait(&mut self) -> Result<(), Fault> {
        self.parts.as_mut().map_or(Ok(()), |parts| parts.places.wait(limit()))
    }

    /// Notes that a frame has been submitted that changes the picture.
    pub(crate) fn drew(&mut self) {
        self.stale = true;
        self.drawn += 1;
        let since = self.told.elapsed();
        if let Some(parts) = self.parts.as_ref().filter(|_| since >= RATE && !self.state.is_closed()) {
            let rate = f64::from(take(&mut self.drawn)) / since.as_secs_f64();
            let title = format!("{} ({rate:.0} frames/s)", parts.window.wanted.title);
            // What has failed here is told by the next call that takes events.
            let _ = guarded(|| parts.window.window.set_title(&title));
            self.told = Instant::now();
        }
    }

    /// Presents the picture, if the window does not show it already and has an image for it now;
    /// else the next call tries again. Does not wait. Returns whether it was presented.
    ///
    /// # Safety
    /// What `shown` has is of this device, and lives until this is dropped. The picture has four
    /// bytes for each pixel of the view, is one to copy from, and is written on the device's queue
    /// alone.
    pub(crate) unsafe fn present(&mut self, shown: Shown<'_>) -> Result<bool, Fault> {
        let news = self.state.news();
        self.fits &= !news.resized;
        self.stale |= news.resized || news.uncovered || shown.redraw.is_some();
        let Some(parts) = &mut self.parts else { return Ok(false) };
        if news.closed {
            parts.window.hide();
            return Ok(false);
        }
        if news.hidden || !self.stale {
            return Ok(false);
        }
        // SAFETY: as this function.
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
                log::warn!("the surface of a view's window was lost and is made anew");
                self.losses += 1;
                self.fits = false;
                parts.surface_is_lost = true;
                Ok(false)
            }
            Err(Failed::SurfaceLost) => {
                let reason = format!("the surface of the window was lost {LOSSES} times in a row");
                Err(Fault::new(Kind::Driver, reason))
            }
            Err(Failed::Fault(fault)) => Err(fault),
        }
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        if let Err(fault) = parts.places.wait(limit()) {
            log::error!("a view's window is leaked, since the GPU may be using it: {fault:?}");
            forget(parts);
        }
    }
}
