//! Handles of windows: opened by this crate, or owned by the program.

use raw_window_handle::{DisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, WindowHandle};
use winit::window::Window as WinitWindow;

use crate::error::Result;
use crate::window::guard::guarded;
use crate::window::{display_end, event_loop};

/// The program's own window, kept while a view presents to it.
pub(crate) trait OwnWindow: HasDisplayHandle + HasWindowHandle + Send + Sync {}

impl<T: HasDisplayHandle + HasWindowHandle + Send + Sync> OwnWindow for T {}

pub(crate) enum Handle {
    /// Opened by this crate, whose event loop handles its events.
    Opened(Opened),
    /// Owned by the program, which passes on its events.
    Own(Box<dyn OwnWindow>),
}

impl Handle {
    pub(crate) fn opened(window: WinitWindow) -> Self {
        Self::Opened(Opened { window, _flush: FlushOnDrop })
    }

    pub(crate) fn is_opened(&self) -> bool {
        matches!(self, Self::Opened(_))
    }

    /// Hides the window, unless it is the program's.
    pub(crate) fn hide(&self) {
        if let Self::Opened(opened) = self {
            opened.hide();
        }
    }

    /// Sets the title, unless the window is the program's.
    pub(crate) fn set_title(&self, title: &str) {
        if let Self::Opened(opened) = self {
            // A failure is reported by the next call that handles events.
            let _ = guarded(|| opened.window.set_title(title));
        }
    }

    /// Returns the size in pixels, or `None` for the program's own window, whose size the program
    /// reports.
    pub(crate) fn size(&self) -> Result<Option<[u32; 2]>> {
        let Self::Opened(opened) = self else { return Ok(None) };
        let size = guarded(|| opened.window.inner_size())?;
        Ok(Some([size.width, size.height]))
    }
}

impl HasDisplayHandle for Handle {
    fn display_handle(&self) -> Result<DisplayHandle<'_>, HandleError> {
        match self {
            Self::Opened(opened) => opened.window.display_handle(),
            Self::Own(own) => own.display_handle(),
        }
    }
}

impl HasWindowHandle for Handle {
    fn window_handle(&self) -> Result<WindowHandle<'_>, HandleError> {
        match self {
            Self::Opened(opened) => opened.window.window_handle(),
            Self::Own(own) => own.window_handle(),
        }
    }
}

/// A window of this crate's event loop. Dropping it closes the window.
pub(crate) struct Opened {
    window: WinitWindow,
    /// Dropped after the window.
    _flush: FlushOnDrop,
}

impl Opened {
    fn hide(&self) {
        if !display_end::has_ended() {
            // A failure is reported by the next call that handles events.
            let _ = guarded(|| self.window.set_visible(false));
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // When dropped on a thread other than that of the event loop, the display is not notified
        // of the end until the loop runs again, so the window is hidden first.
        self.hide();
    }
}

/// Flushes the requests of dropping the window to the display, which would otherwise only happen
/// with the next window's events.
struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        event_loop::flush_display();
    }
}
