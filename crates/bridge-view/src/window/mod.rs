//! Windows: the event loop of the process, adopted windows, and the presentation of a view's
//! picture.
//!
//! Drawing the picture (`crate::view`) does not depend on this module. Presenting is a separate
//! submission, made only if the window has an image available at that moment, so a hidden,
//! minimized or slow window never delays computing and drawing.

mod adopt;
mod display_end;
mod event_loop;
mod fit;
mod guard;
mod handle;
mod images;
pub(crate) mod input;
pub(crate) mod order;
mod parts;
mod places;
pub(crate) mod present;
pub(crate) mod record;
mod state;
mod surface;
mod swapchain;

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::window::handle::Handle;
use crate::window::input::State;
use crate::window::surface::instance_extensions;
use bridge::ash::khr;
use bridge::{Backend, Compute, OpenInfo};

pub use crate::window::images::{AcquiredImage, WindowImages};
pub use crate::window::state::WindowState;

/// Configuration of a [`Window`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowInfo {
    /// The title, without null characters. A view adds the frame rate.
    pub title: String,
    /// `true` if presentation waits for the display's refresh. Default: `true`. Otherwise pictures
    /// are presented without waiting (MAILBOX or IMMEDIATE), if the device supports it.
    pub vsync: bool,
    /// Width and height in pixels; the window is smaller if the screen is. Default: 1280 x 720.
    pub size: [u32; 2],
}

impl Default for WindowInfo {
    fn default() -> Self {
        Self { title: "bridge-view".to_owned(), vsync: true, size: [1280, 720] }
    }
}

/// A window in which a view shows its picture: opened by this crate, or adopted from the program.
///
/// All windows that are [opened](Self::open) here share one event loop. The first one creates it on
/// the calling thread, which on several systems must be the main thread. Windows can be opened, and
/// events handled, only on that thread. Dropping such a window closes it; any thread may do so.
///
/// A process can have only one event loop of winit. A program that has its own, or that uses
/// another window library, [adopts](Self::adopt) its window. This crate then handles no events, and
/// the program reports them through [`WindowState`].
pub struct Window {
    handle: Handle,
    state: Arc<State>,
    info: WindowInfo,
}

impl Window {
    /// The device extensions that presenting requires.
    pub const DEVICE_EXTENSIONS: &'static [&'static CStr] = &[khr::swapchain::NAME];

    /// Opens a window.
    ///
    /// # Errors
    /// [`Error::NoWindow`] if there is no display, [`Error::InvalidArgument`] for an invalid title
    /// or size; [`Error::WindowSystem`], [`Error::Forked`], [`Error::EventLoopBusy`].
    pub fn open(info: &WindowInfo) -> Result<Self> {
        if info.title.contains('\0') {
            return Err(Error::invalid("window", "its title has a null character"));
        }
        crate::format::check_sides(|| format!("a window of {:?} pixels", info.size), info.size)?;
        let (window, state) = event_loop::open(info)?;
        Ok(Self { handle: Handle::opened(window), state, info: info.clone() })
    }

    /// Opens a device that can present to the window, and creates its compute side. Adds the
    /// extensions that presenting requires to those of `info`.
    ///
    /// # Errors
    /// [`Error::CannotPresent`] for a kind of window that Vulkan cannot present to; otherwise the
    /// errors of [`Compute::open`].
    pub fn open_compute(&self, info: &OpenInfo<'_>, backend: Backend) -> Result<Compute> {
        let instance = [info.instance_extensions, &self.instance_extensions()?].concat();
        let device = [info.device_extensions, Self::DEVICE_EXTENSIONS].concat();
        let info = OpenInfo { instance_extensions: &instance, device_extensions: &device, ..info.clone() };
        Ok(Compute::open(&info, backend)?)
    }

    /// Returns the instance extensions that presenting requires.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan cannot present to.
    pub fn instance_extensions(&self) -> Result<Vec<&'static CStr>> {
        instance_extensions(&self.handle)
    }

    /// Returns the window's state. It can be stored and used on any thread.
    pub fn state(&self) -> WindowState {
        WindowState(self.state.clone())
    }

    /// Returns the size in pixels, after the events handled so far.
    fn size(&self) -> Result<[u32; 2]> {
        Ok(self.handle.size()?.unwrap_or_else(|| self.state.size()))
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({:?})", self.info.title)
    }
}

/// Handles the events that have arrived, for all windows opened by this crate. Waits up to
/// `timeout` for an event. [`View::draw`](crate::View::draw) calls this too.
///
/// # Errors
/// [`Error::OtherThread`] on a thread other than that of the windows, and before the first window
/// is opened; [`Error::WindowSystem`], [`Error::Forked`], [`Error::EventLoopBusy`].
pub fn poll_events(timeout: Duration) -> Result<()> {
    event_loop::pump(timeout)
}

/// Returns `true` if the display of the windows, or the connection to it, has ended. The windows
/// then count as closed, and the program continues, although Xlib would exit the process by
/// default.
pub fn display_has_ended() -> bool {
    display_end::has_ended()
}
