//! Windows: the event loop of the process, windows of the program's own, and what a view needs to
//! show its picture in either.
//!
//! The picture is drawn without any of this (`crate::view`). Presenting it is a submission of its
//! own, made only if the window has an image to write to at that moment; so a window that is
//! hidden, minimized or slow never holds up what is computed and drawn.

mod adopt;
mod ended;
mod event_loop;
mod fit;
mod guard;
mod handle;
mod images;
pub(crate) mod input;
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
    /// The title, without a null character; a view adds the frame rate.
    pub title: String,
    /// Whether pictures wait for the display's refresh, which they do by default. Else they are
    /// shown in between (MAILBOX, or IMMEDIATE), where the device can.
    pub vsync: bool,
    /// Width and height in pixels; smaller where the screen is. 1280 x 720 by default.
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
    /// The device extensions that showing pictures takes.
    pub const DEVICE_EXTENSIONS: &'static [&'static CStr] = &[khr::swapchain::NAME];

    /// Opens a window.
    ///
    /// # Errors
    /// [`Error::NoWindow`] where there is no display, [`Error::InvalidArgument`] for a title or a
    /// size that cannot be; [`Error::WindowSystem`], [`Error::Forked`], [`Error::EventLoopBusy`].
    pub fn open(info: &WindowInfo) -> Result<Self> {
        if info.title.contains('\0') {
            return Err(Error::invalid("window", "its title has a null character"));
        }
        crate::format::check_sides(|| format!("a window of {:?} pixels", info.size), info.size)?;
        let (window, state) = event_loop::open(info)?;
        Ok(Self { handle: Handle::opened(window), state, info: info.clone() })
    }

    /// Opens the compute side, on a device that can show pictures in the window: `info` with the
    /// extensions that this takes.
    ///
    /// # Errors
    /// [`Error::CannotPresent`] for a kind of window that Vulkan does not draw to; else as
    /// [`Compute::open`].
    pub fn open_compute(&self, info: &OpenInfo<'_>, backend: Backend) -> Result<Compute> {
        let instance = [info.instance_extensions, &self.instance_extensions()?].concat();
        let device = [info.device_extensions, Self::DEVICE_EXTENSIONS].concat();
        let info = OpenInfo { instance_extensions: &instance, device_extensions: &device, ..info.clone() };
        Ok(Compute::open(&info, backend)?)
    }

    /// Returns the instance extensions that presenting requires.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan does not draw to.
    pub fn instance_extensions(&self) -> Result<Vec<&'static CStr>> {
        instance_extensions(&self.handle)
    }

    /// Returns the window's state. It may be kept, and used on any thread.
    pub fn state(&self) -> WindowState {
        WindowState(self.state.clone())
    }

    /// The size in pixels, after the events so far.
    fn size(&self) -> Result<[u32; 2]> {
        Ok(self.handle.size()?.unwrap_or_else(|| self.state.size()))
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({:?})", self.info.title)
    }
}

/// Takes the events that have arrived, for all windows that were opened here. Waits for one for at
/// most `timeout`. [`View::draw`](crate::View::draw) does it.
///
/// # Errors
/// [`Error::OtherThread`] on another thread than that of the windows, and before the first one;
/// [`Error::WindowSystem`], [`Error::Forked`], [`Error::EventLoopBusy`].
pub fn poll_events(timeout: Duration) -> Result<()> {
    event_loop::pump(timeout)
}

/// Returns `true` once the display of the windows has ended, or the connection to it. They count as
/// closed then, and the program goes on; on Linux Xlib would have ended it.
pub fn display_has_ended() -> bool {
    ended::has_ended()
}
