//! Windows of the program's own.

// Handles that a caller answers for.
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
    /// Adopts a window of the program's own, such as an `Arc` of a window of winit's. It is kept
    /// until the view is dropped, or its window [detached](crate::View::detach_window).
    ///
    /// [`WindowInfo::size`] is the size that the window has now, in pixels; the title stays the
    /// program's, and that of `info` names the window in messages alone. No events are taken: the
    /// program passes on what happens to the window, by [`state`](Self::state). A view draws to
    /// such a window on any thread that the window system lets draw there; for X11, Wayland and
    /// Windows that is every thread.
    ///
    /// # Errors
    /// [`Error::NoWindow`] for a kind of window that Vulkan does not draw to, or one without a
    /// handle.
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

    /// Adopts a window as [`adopt`](Self::adopt) does, for a library whose windows have no
    /// `HasWindowHandle`, or may not be moved between threads.
    ///
    /// # Errors
    /// As [`adopt`](Self::adopt).
    ///
    /// # Safety
    /// The window, and the connection to its display, are live until what is returned is dropped:
    /// with it the view that it is given to, or the view's window
    /// [detached](crate::View::detach_window). Vulkan may use both on every thread that uses the
    /// view.
    pub unsafe fn adopt_raw(display: RawDisplayHandle, window: RawWindowHandle, info: &WindowInfo) -> Result<Self> {
        // SAFETY: as this function.
        Self::adopt(unsafe { RawWindow::new(display, window) }, info)
    }
}

/// A window that is known by its handles alone.
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

// SAFETY: the handles may be used on every thread, as `new` says.
unsafe impl Send for RawWindow {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for RawWindow {}

impl HasDisplayHandle for RawWindow {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        // SAFETY: live while this is borrowed, as `new` says.
        Ok(unsafe { DisplayHandle::borrow_raw(self.display) })
    }
}

impl HasWindowHandle for RawWindow {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        // SAFETY: live while this is borrowed, as `new` says.
        Ok(unsafe { WindowHandle::borrow_raw(self.window) })
    }
}
