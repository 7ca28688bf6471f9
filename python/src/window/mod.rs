//! Windows: the event loop of the process, and what a view needs to show its picture in a window.
//!
//! The picture is drawn without any of this (`crate::screen`). Presenting it is a submission of its
//! own, made only if the window has an image to write to at that moment; so a window that is
//! hidden, minimised or slow never holds up what is computed and drawn.

pub(crate) mod choose;
pub(crate) mod ended;
pub(crate) mod event_loop;
mod fit;
mod guard;
pub(crate) mod input;
mod parts;
mod places;
pub(crate) mod present;
pub(crate) mod record;
mod surface;
mod swapchain;

use std::ffi::CStr;
use std::sync::Arc;

use raw_window_handle::HasDisplayHandle;
use winit::window::Window;

use crate::error::{Fault, Kind};
use crate::window::guard::guarded;
use crate::window::input::State;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) title: String,
    /// Whether frames wait for the display's refresh.
    pub(crate) vsync: bool,
    /// The picture's width and height.
    pub(crate) size: [u32; 2],
}

/// A window of the event loop. Dropping it closes the window; any thread may.
pub(crate) struct OpenWindow {
    window: Window,
    state: Arc<State>,
    wanted: Wanted,
    /// After the window.
    _settled: Settled,
}

/// Sends what dropping the window has left to be sent to the display, which otherwise the next
/// window's events would.
struct Settled;

impl Drop for Settled {
    fn drop(&mut self) {
        event_loop::settle();
    }
}

impl Drop for OpenWindow {
    fn drop(&mut self) {
        // On another thread than the main one, the display does not hear of the end until the event
        // loop runs again.
        self.hide();
    }
}

impl OpenWindow {
    /// What its event loop tells.
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Takes it off the screen.
    fn hide(&self) {
        if !ended::has_ended() {
            // What has failed here is told by the next call that takes events.
            let _ = guarded(|| self.window.set_visible(false));
        }
    }

    /// The instance extensions that a surface of it needs.
    pub(crate) fn instance_extensions(&self) -> Result<Vec<&'static CStr>, Fault> {
        let display = self.window.display_handle().map_err(|error| Fault::new(Kind::Unavailable, error))?.as_raw();
        let names = ash_window::enumerate_required_extensions(display).map_err(|code| {
            Fault::new(Kind::Unavailable, format!("Vulkan cannot draw to this kind of window ({code:?}): {display:?}"))
        })?;
        Ok(names.iter().map(|name| name_of(*name)).collect())
    }
}

/// A name that the crate `ash` declares.
#[allow(unsafe_code)]
fn name_of(name: *const std::ffi::c_char) -> &'static CStr {
    // SAFETY: `ash_window` gives pointers to the string constants of `ash` alone, which live for
    // ever.
    unsafe { CStr::from_ptr(name) }
}
