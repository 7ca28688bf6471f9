//! The window part of a view.

use std::mem::{ManuallyDrop, forget};
use std::sync::Arc;
use std::time::Duration;

use bridge::ash::vk;
use bridge::{Compute, ExportDevice};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::draw::ring::{Bound, Source};
use crate::error::Result;
use crate::format::PointFormat;
use crate::frame::{Slot, Turn};
use crate::look::PointLook;
use crate::view::{Content, View, ViewInfo};
use crate::window::input::Orbit;
use crate::window::order::PresentOrder;
use crate::window::present::Presenter;
use crate::window::record::{Redraw, WindowContent};
use crate::window::{Window, WindowState, display_has_ended, poll_events};

/// The window of a view, if any, and the objects for it.
pub(super) struct Screen {
    presenter: Option<Presenter>,
    order: Arc<PresentOrder>,
    /// Only freed by [`free`](Self::free), so that it is leaked if commands may still draw from it.
    points_copy: ManuallyDrop<Option<PointsCopy>>,
}

/// A copy of the points that a window shows. Their slot returns to the producer once they are
/// drawn; when the user moves the camera, they are drawn again from this copy.
struct PointsCopy {
    buffer: LocalBuffer,
    format: PointFormat,
    /// The look and the camera that the points were drawn with; `None` if the picture shows
    /// something else.
    shown: Option<(PointLook, Orbit)>,
}

impl Screen {
    /// Returns the screen of a view without a window.
    pub(super) fn none(device: &ExportDevice) -> Self {
        Self { presenter: None, order: PresentOrder::of(device), points_copy: ManuallyDrop::new(None) }
    }

    pub(super) fn wait(&mut self) -> Result<()> {
        self.presenter.as_mut().map_or(Ok(()), Presenter::wait)
    }

    /// Frees the copy of the points. All commands that draw from it have ended.
    pub(super) fn free(&mut self) {
        *self.points_copy = None;
    }

    /// Releases the record of commands that have ended.
    pub(super) fn release_order(&self) {
        self.order.release_ended();
    }

    /// Keeps the record of commands that may still be running, for later windows on the queue.
    pub(super) fn keep_order(&self) {
        forget(self.order.clone());
    }
}

impl View {
    /// Opens a view that shows its picture in a window.
    ///
    /// The picture is scaled to the window's size, with black bars if the aspect ratios differ. In
    /// an [opened](Window::open) window, closing it or pressing Escape ends
    /// [`is_running`](Self::is_running), dragging rotates the camera around points, the wheel moves
    /// it closer, and Home resets it; the title contains the frame rate. In an
    /// [adopted](Window::adopt) window, the program decides this, with [`WindowState`].
    ///
    /// If views have drawn on the device without a window, this waits until that has finished.
    ///
    /// # Errors
    /// [`Error::CannotPresent`](crate::Error::CannotPresent) if the device cannot present to this
    /// window, for example because its main queue does not support graphics, or if another thread
    /// has been submitting a view's frame for the whole timeout;
    /// [`Error::Bridge`](crate::Error::Bridge) if a frame that a view has drawn on the device
    /// without a window does not end within the timeout; otherwise the errors of
    /// [`headless`](Self::headless).
    pub fn in_window(compute: &Compute, info: &ViewInfo, window: Window) -> Result<Self> {
        let ViewInfo { size, timeout } = *info;
        Self::new(compute, info, |device, pipelines| {
            let presenter = Presenter::new(device, window, pipelines, size, timeout)?;
            Ok(Screen { presenter: Some(presenter), ..Screen::none(device) })
        })
    }

    /// Shows the picture in this window from now on. The previous window, if any, is
    /// [detached](Self::detach_window). Waits until all drawing has finished.
    ///
    /// # Errors
    /// The errors of [`in_window`](Self::in_window), after which the view has no window, and of
    /// [`detach_window`](Self::detach_window), even if there was no window.
    pub fn attach_window(&mut self, window: Window) -> Result<()> {
        self.detach_window()?;
        self.finish()?;
        let device = self.compute.device();
        self.screen.presenter = Some(Presenter::new(device, window, &self.pipelines, self.size, self.limit)?);
        Ok(())
    }

    /// Stops showing the picture in a window. Waits for drawing and presentation, frees the
    /// window's Vulkan objects, and drops the window, which closes it if it was
    /// [opened](Window::open). The view continues without a window. Does nothing if it has none.
    ///
    /// Call it if the window's surface is lost permanently ([`Error::SurfaceLost`](crate::Error)),
    /// or before you destroy your own window.
    ///
    /// # Errors
    /// The error of the wait if commands did not end within the timeout; the view then keeps the
    /// window. If a device is lost, the window is dropped anyway.
    pub fn detach_window(&mut self) -> Result<()> {
        if self.screen.presenter.is_none() {
            return Ok(());
        }
        let (ended, waited) = self.settle();
        if !ended {
            return waited;
        }
        self.screen.presenter = None;
        // All drawing and presentation that used it has ended.
        self.screen.free();
        self.screen.release_order();
        waited
    }

    /// Returns the state of the window, if there is one. It can be stored and used on any thread.
    pub fn window(&self) -> Option<WindowState> {
        self.screen.presenter.as_ref().map(|presenter| WindowState(presenter.state().clone()))
    }

    /// Returns `true` until the user closes the window, and always without a window. A view whose
    /// window is closed can still draw, and its picture can be read.
    pub fn is_running(&self) -> bool {
        self.screen.presenter.as_ref().is_none_or(|presenter| !presenter.state().is_closed())
    }

    pub(super) fn take_events(&mut self, timeout: Duration) -> Result<()> {
        if !self.screen.presenter.as_ref().is_some_and(Presenter::handles_events) {
            return Ok(());
        }
        if !timeout.is_zero() && display_has_ended() {
            std::thread::sleep(timeout);
        }
        poll_events(timeout)
    }

    /// Returns the order of the view's queue, in which its frames are submitted.
    pub(super) fn present_order(&mut self) -> Arc<PresentOrder> {
        if let Some(presenter) = &mut self.screen.presenter {
            presenter.end_if_closed();
        }
        self.screen.order.clone()
    }

    /// Presents the picture if the window can take it now.
    #[allow(unsafe_code)] // Hands buffers to Vulkan.
    pub(super) fn present(&mut self) -> Result<bool> {
        let Screen { presenter: Some(presenter), points_copy: kept, .. } = &mut self.screen else { return Ok(false) };
        let (picture, orbit) = (self.picture.as_raw(), presenter.orbit());
        let turned = kept.as_mut().and_then(|kept| {
            let (look, before) = kept.shown?;
            (before != orbit).then_some((kept, look))
        });
        let redraw = turned.as_ref().map(|(kept, look)| Redraw {
            pipelines: &self.pipelines,
            bound: Bound {
                source: Source::Buffer(kept.buffer.as_raw(), kept.format.size()),
                picture,
                depths: self.depths.as_ref().unwrap_or(&self.picture).as_raw(),
            },
            params: Content::Points(kept.format, with_orbit(*look, orbit)).params(self.size),
        });
        let shown = WindowContent { picture: self.drawn.then_some(picture), redraw };
        // SAFETY: the picture was created in `new`, with four bytes per pixel and the usage of
        // copies, and is drawn on the device's queue. The picture, the pipelines and the points are
        // dropped after the presenter has been waited for, see `drain`.
        let presented = unsafe { presenter.present(shown) }?;
        if let Some((kept, look)) = turned.filter(|_| presented) {
            kept.shown = Some((look, orbit));
        }
        Ok(presented)
    }

    /// Returns the content with the camera as moved by the user.
    pub(super) fn with_orbit(&self, content: Content) -> Content {
        match (content, &self.screen.presenter) {
            (Content::Points(format, look), Some(presenter)) => {
                Content::Points(format, with_orbit(look, presenter.orbit()))
            }
            (content, _) => content,
        }
    }

    /// Returns the buffer that the frame's points are copied to, if they can be drawn again.
    pub(super) fn reserve_copy(&mut self, frame: &dyn Turn, content: Content) -> Result<Option<vk::Buffer>> {
        let (Content::Points(format, _), Slot::Buffer(slot), Some(presenter)) =
            (content, frame.slot(), &mut self.screen.presenter)
        else {
            return Ok(None);
        };
        if !slot.access.allows_copies_from() {
            return Ok(None);
        }
        let kept = match self.screen.points_copy.take() {
            Some(kept) if kept.format == format => kept,
            other => {
                if other.is_some() {
                    // It may be in use by frames and by presentation.
                    *self.screen.points_copy = other;
                    self.ring.wait(self.limit)?;
                    presenter.wait()?;
                }
                let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
                let device = self.compute.device();
                let buffer = LocalBuffer::new(device, "points", format.size(), usage, MemoryLocation::GpuOnly)?;
                PointsCopy { buffer, format, shown: None }
            }
        };
        Ok(Some(self.screen.points_copy.insert(kept).buffer.as_raw()))
    }

    /// Notes the content of the picture, and whether its points were kept.
    pub(super) fn note_drawn(&mut self, content: Content, kept: bool, rate: Option<f64>) {
        let Screen { presenter: Some(presenter), points_copy: points, .. } = &mut self.screen else { return };
        presenter.note_drawn(rate);
        let orbit = presenter.orbit();
        let look = match content {
            Content::Points(_, look) => Some(look),
            Content::Image(..) | Content::Texture(..) => None,
        };
        presenter.state().set_rotatable(look.is_some());
        if let Some(points) = points.as_mut() {
            points.shown = look.filter(|_| kept).map(|look| (look, orbit));
        }
    }
}

fn with_orbit(look: PointLook, orbit: Orbit) -> PointLook {
    PointLook { camera: orbit.apply_to(look.camera), ..look }
}
