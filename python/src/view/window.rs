//! A view's window, as its methods need it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use crate::view::View;
use crate::window::choose::warn;
use crate::window::{ended, event_loop};

/// How long `draw` waits for events where there is nothing new to show, so that a loop of it leaves
/// the processor to others.
const IDLE: Duration = Duration::from_millis(2);

/// Whether the end of the display was told.
static TOLD: AtomicBool = AtomicBool::new(false);

impl View {
    /// Takes the events of all windows, draws, and presents. Returns whether something was drawn.
    pub(super) fn draw_in_window(&self, py: Python<'_>) -> PyResult<bool> {
        self.process.check("view")?;
        py.detach(|| event_loop::pump(Duration::ZERO))?;
        if ended::has_ended() && !TOLD.swap(true, Ordering::Relaxed) {
            warn(py, "the display has ended: views go on without their windows")?;
        }
        let did = self.with(py, |screen| screen.draw_and_present())?;
        if !did.drawn && !did.presented {
            py.detach(|| match ended::has_ended() {
                true => {
                    std::thread::sleep(IDLE);
                    Ok(())
                }
                false => event_loop::pump(IDLE),
            })?;
        }
        Ok(did.drawn)
    }

    /// Whether the user has closed the window.
    pub(super) fn window_is_closed(&self) -> bool {
        self.window.as_ref().is_some_and(|state| state.is_closed())
    }
}
