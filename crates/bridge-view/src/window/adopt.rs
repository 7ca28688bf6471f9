//! Adoption of the program's own windows.

// Handles whose validity the caller guarantees.
#![allow(unsafe_code)]

use std::sync::Arc;

use raw_window_handle::{
    DisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, RawDisplayHandle, RawWindowHandle, WindowHandle,
};

use crate::error::{Error, Result};
use crate::window::handle::Handle;
use crate::window::input::State;
use crate::window::surface::instance_extensions;
use crate::window::{Window, WindowInfo};

impl Window {
    /// Adopts the program's own window, such as an `Arc` of a winit window. The handle is kept
    /// until the view is dropped, or its window is [detached](crate::View::detach_window).
    ///
    /// [`WindowInfo::size`] is the current size of the window, in pixels. The window's title is not
    /// changed; the title of `info` only names the window in messages. This crate does not handle
    /// events of the window: the program passes them on to [`state`](Self::state). A view can
    /// present to such a window on any thread that the window system allows, which is every thread
    /// on X11, Wayland and Windows.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan cannot present to, or a window without
    /// a handle.
    pub fn adopt(
        window: impl HasWindowHandle + HasDisplayHandle + Send + Sync + 'static,
        info: &WindowInfo,
    ) -> Result<Self> {
        let no_window = |error: HandleError| Error::NoWindow { reason: error.to_string() };
        instance_extensions(&window)?;
        window.window_handle().map_err(no_window)?;
        let state = Arc::new(State::default());
        state.resize(info.size);
        Ok(Self { handle: Handle::Own(Box::new(window)), state, info: info.clone() })
    }

    /// Like [`adopt`](Self::adopt), for window libraries that do not implement `HasWindowHandle`,
    /// or whose windows cannot be moved between threads.
    ///
    /// # Errors
    /// The errors of [`adopt`](Self::adopt).
    ///
    /// # Safety
    /// The window, and the connection to its display, are live until the returned window is
    /// dropped; once it is given to a view, until the view is dropped or its window is
    /// [detached](crate::View::detach_window). Vulkan may use both on every thread that uses the
    /// view.
    pub unsafe fn adopt_raw(display: RawDisplayHandle, window: RawWindowHandle, info: &WindowInfo) -> Result<Self> {
        // SAFETY: the caller upholds the contract.
        Self::adopt(unsafe { RawWindow::new(display, window) }, info)
    }
}

/// A window given by raw handles.
pub(crate) struct RawWindow {
    display: RawDisplayHandle,
    window: RawWindowHandle,
}

impl RawWindow {
    /// # Safety
    /// Both are live until this is dropped, and may be used on every thread.
    pub(crate) unsafe fn new(display: RawDisplayHandle, window: RawWindowHandle) -> Self {
        Self { display, window }
    }
}

// SAFETY: the handles may be used on every thread, by the contract of `new`.
unsafe impl Send for RawWindow {}
// SAFETY: as above; the handles never change.
unsafe impl Sync for RawWindow {}

impl HasDisplayHandle for RawWindow {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        // SAFETY: the handle is live while `self` is borrowed, by the contract of `new`.
        Ok(unsafe { DisplayHandle::borrow_raw(self.display) })
    }
}

impl HasWindowHandle for RawWindow {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        // SAFETY: the handle is live while `self` is borrowed, by the contract of `new`.
        Ok(unsafe { WindowHandle::borrow_raw(self.window) })
    }
}
