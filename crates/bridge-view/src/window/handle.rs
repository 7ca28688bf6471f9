//! A window of the system's: one that was opened here, or one of the program's own.

use raw_window_handle::{DisplayHandle, HandleError, HasDisplayHandle, HasWindowHandle, WindowHandle};
use winit::window::Window as WinitWindow;

use crate::error::Result;
use crate::window::guard::guarded;
use crate::window::{ended, event_loop};

/// A window of a program's own, kept while a view shows its picture there.
pub(crate) trait OwnWindow: HasDisplayHandle + HasWindowHandle + Send + Sync {}

impl<T: HasDisplayHandle + HasWindowHandle + Send + Sync> OwnWindow for T {}

pub(crate) enum Handle {
    /// The event loop here has its events.
    Opened(Opened),
    /// The program has its events, and says what they are.
    Own(Box<dyn OwnWindow>),
}

impl Handle {
    pub(crate) fn opened(window: WinitWindow) -> Self {
        Self::Opened(Opened { window, _settled: Settled })
    }

    pub(crate) fn is_opened(&self) -> bool {
        matches!(self, Self::Opened(_))
    }

    /// Takes it off the screen, unless it is the program's.
    pub(crate) fn hide(&self) {
        if let Self::Opened(opened) = self {
            opened.hide();
        }
    }

    /// Sets the title, unless the window is the program's.
    pub(crate) fn set_title(&self, title: &str) {
        if let Self::Opened(opened) = self {
            // What has failed here is told by the next call that takes events.
            let _ = guarded(|| opened.window.set_title(title));
        }
    }

    /// The size in pixels; `None` if it is the program's, which tells the size itself.
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

/// A window of the event loop here. Dropping it closes the window.
pub(crate) struct Opened {
    window: WinitWindow,
    /// After the window.
    _settled: Settled,
}

impl Opened {
    fn hide(&self) {
        if !ended::has_ended() {
            // What has failed here is told by the next call that takes events.
            let _ = guarded(|| self.window.set_visible(false));
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // On another thread than that of the event loop, the display does not hear of the end until
        // the loop runs again.
        self.hide();
    }
}

/// Sends what dropping the window has left to be sent to the display, which otherwise the next
/// window's events would.
struct Settled;

impl Drop for Settled {
    fn drop(&mut self) {
        event_loop::settle();
    }
}
