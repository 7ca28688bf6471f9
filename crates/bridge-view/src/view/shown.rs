//! A view's window, where it has one.

use std::mem::ManuallyDrop;
use std::time::Duration;

use bridge::Compute;
use bridge::ash::vk;
use vk_local::{LocalBuffer, MemoryLocation};

use crate::draw::ring::{Bound, Source};
use crate::error::Result;
use crate::format::PointFormat;
use crate::frame::{Slot, Turn};
use crate::look::PointLook;
use crate::view::output::covers_copies;
use crate::view::{Content, View, ViewInfo};
use crate::window::input::Orbit;
use crate::window::present::Presenter;
use crate::window::record::{Redraw, Shown};
use crate::window::{Window, WindowState, display_has_ended, poll_events};

/// The window's part of a view.
#[derive(Default)]
pub(super) struct Screen {
    presenter: Option<Presenter>,
    /// Freed by [`free`](Self::free) alone: leaked, if commands may still draw from it.
    kept: ManuallyDrop<Option<Kept>>,
}

/// The points that a window shows. Their slot is the producer's again once they are drawn; from
/// this copy they are drawn again when the user moves the camera.
struct Kept {
    buffer: LocalBuffer,
    format: PointFormat,
    /// The points that the picture shows; `None` if it shows anything else.
    shown: Option<(PointLook, Orbit)>,
}

impl Screen {
    pub(super) fn wait(&mut self) -> Result<()> {
        self.presenter.as_mut().map_or(Ok(()), Presenter::wait)
    }

    /// Frees what commands draw from; all were seen to end.
    pub(super) fn free(&mut self) {
        *self.kept = None;
    }
}

impl View {
    /// Opens a view that shows its picture in a window.
    ///
    /// The picture is scaled to the window's size, with black bars where the shapes differ. In a
    /// window that was [opened](Window::open), closing it, or Escape, ends
    /// [`is_running`](Self::is_running), dragging moves the camera round points, the wheel moves it
    /// closer, and Home puts it back; the title tells the frame rate. In one that was
    /// [adopted](Window::adopt) the program decides that, by [`WindowState`].
    ///
    /// # Errors
    /// [`Error::CannotPresent`](crate::Error::CannotPresent) where the device cannot show pictures
    /// in this window, as one whose main queue has no graphics; else as
    /// [`headless`](Self::headless).
    pub fn in_window(compute: &Compute, info: &ViewInfo, window: Window) -> Result<Self> {
        let ViewInfo { size, timeout } = *info;
        Self::new(compute, info, |device, pipelines| {
            let presenter = Presenter::new(device, window, pipelines, size, timeout)?;
            Ok(Screen { presenter: Some(presenter), kept: ManuallyDrop::new(None) })
        })
    }

    /// Shows the picture in this window from now on, in place of the one that the view had, which
    /// is [detached](Self::detach_window). Waits for what was drawn.
    ///
    /// # Errors
    /// As [`in_window`](Self::in_window), after which the view has no window, and as
    /// [`detach_window`](Self::detach_window), also where there was none.
    pub fn attach_window(&mut self, window: Window) -> Result<()> {
        self.detach_window()?;
        // What was drawn without a window may wait for a signal of the CPU's, which nothing that is
        // presented may; see `prepare_present`.
        self.finish()?;
        let device = self.compute.device();
        self.screen.presenter = Some(Presenter::new(device, window, &self.pipelines, self.size, self.limit)?);
        Ok(())
    }

    /// Stops showing the picture in a window. Waits for everything that was drawn and presented,
    /// frees the window's Vulkan objects, and drops the window, which closes it if it was
    /// [opened](Window::open). The view continues without a window. Does nothing if it has none.
    ///
    /// Call it if the window's surface is lost permanently ([`Error::SurfaceLost`](crate::Error)),
    /// or before you destroy a window of your own.
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
        // Of frames that were drawn, and of what was presented: all were seen to end.
        self.screen.free();
        waited
    }

    /// Returns the state of the window, if there is one. It may be kept, and used on any thread.
    pub fn window(&self) -> Option<WindowState> {
        self.screen.presenter.as_ref().map(|presenter| WindowState(presenter.state().clone()))
    }

    /// Returns `true` until the user closes the window, and always without one. What is closed is
    /// the window: the view still draws, and its picture can be read.
    pub fn is_running(&self) -> bool {
        self.screen.presenter.as_ref().is_none_or(|presenter| !presenter.state().is_closed())
    }

    pub(super) fn take_events(&mut self, timeout: Duration) -> Result<()> {
        if !self.screen.presenter.as_ref().is_some_and(Presenter::takes_events) {
            return Ok(());
        }
        if !timeout.is_zero() && display_has_ended() {
            std::thread::sleep(timeout);
        }
        poll_events(timeout)
    }

    /// Returns `true` if what is drawn may be presented, then or later.
    pub(super) fn may_present(&self) -> bool {
        self.screen.presenter.as_ref().is_some_and(|presenter| !presenter.state().is_closed())
    }

    /// Presents the picture if the window can take it now.
    #[allow(unsafe_code)] // Hands buffers to Vulkan.
    pub(super) fn present(&mut self) -> Result<bool> {
        let Screen { presenter: Some(presenter), kept } = &mut self.screen else { return Ok(false) };
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
            params: Content::Points(kept.format, moved(*look, orbit)).params(self.size),
        });
        let shown = Shown { picture: self.drawn.then_some(picture), redraw };
        // SAFETY: the picture is made in `new`, with four bytes a pixel, to be copied from, and
        // drawn on the device's queue. It, the pipelines and the points are dropped after the
        // presenter has been waited for, see `drain`.
        let presented = unsafe { presenter.present(shown) }?;
        if let Some((kept, look)) = turned.filter(|_| presented) {
            kept.shown = Some((look, orbit));
        }
        Ok(presented)
    }

    /// The content, with the camera where the user has moved it.
    pub(super) fn moved(&self, content: Content) -> Content {
        match (content, &self.screen.presenter) {
            (Content::Points(format, look), Some(presenter)) => Content::Points(format, moved(look, presenter.orbit())),
            (content, _) => content,
        }
    }

    /// The buffer that the frame is copied to, if it is one that is drawn again.
    pub(super) fn make_room_for(&mut self, frame: &dyn Turn, content: Content) -> Result<Option<vk::Buffer>> {
        let (Content::Points(format, _), Slot::Buffer(slot), Some(presenter)) =
            (content, frame.slot(), &mut self.screen.presenter)
        else {
            return Ok(None);
        };
        let access = slot.access;
        let copied = access.usage.contains(vk::BufferUsageFlags::TRANSFER_SRC)
            && covers_copies(access.stages)
            && access.access.contains(vk::AccessFlags2::TRANSFER_READ);
        if !copied {
            return Ok(None);
        }
        let kept = match self.screen.kept.take() {
            Some(kept) if kept.format == format => kept,
            other => {
                if other.is_some() {
                    // It may be in use, by frames and by what is presented.
                    *self.screen.kept = other;
                    self.ring.wait(self.limit)?;
                    presenter.wait()?;
                }
                let usage = vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_DST;
                let device = self.compute.device();
                let buffer = LocalBuffer::new(device, "points", format.size(), usage, MemoryLocation::GpuOnly)?;
                Kept { buffer, format, shown: None }
            }
        };
        Ok(Some(self.screen.kept.insert(kept).buffer.as_raw()))
    }

    /// Notes what the picture shows from now on, and whether it was kept.
    pub(super) fn note_drawn(&mut self, content: Content, kept: bool, rate: Option<f64>) {
        let Screen { presenter: Some(presenter), kept: points } = &mut self.screen else { return };
        presenter.drew(rate);
        let orbit = presenter.orbit();
        let look = match content {
            Content::Points(_, look) => Some(look),
            Content::Image(..) | Content::Texture(..) => None,
        };
        presenter.state().set_turning(look.is_some());
        if let Some(points) = points.as_mut() {
            points.shown = look.filter(|_| kept).map(|look| (look, orbit));
        }
    }
}

fn moved(look: PointLook, orbit: Orbit) -> PointLook {
    PointLook { camera: orbit.of(look.camera), ..look }
}
