//! The window part of the methods of a view.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge_view::{display_has_ended, poll_events};
use pyo3::prelude::*;

use crate::choose::warn;
use crate::error::Fault;
use crate::view::View;

/// How long `draw` waits for events if there is nothing new to show, so that a loop of calls does
/// not occupy the CPU.
const IDLE: Duration = Duration::from_millis(2);

/// `true` if the end of the display was reported.
static TOLD: AtomicBool = AtomicBool::new(false);

impl View {
    /// Handles the events of all windows, draws, and presents. Returns `true` if a frame was drawn.
    pub(super) fn draw_in_window(&self, py: Python<'_>) -> PyResult<bool> {
        self.process.check("view")?;
        py.detach(|| poll_events(Duration::ZERO)).map_err(Fault::from)?;
        if display_has_ended() && !TOLD.swap(true, Ordering::Relaxed) {
            warn(py, "the display has ended: views continue without their windows")?;
        }
        let did = self.with(py, |screen| screen.draw())?;
        if !did.drawn && !did.presented {
            py.detach(|| match display_has_ended() {
                true => {
                    std::thread::sleep(IDLE);
                    Ok(())
                }
                false => poll_events(IDLE),
            })
            .map_err(Fault::from)?;
        }
        Ok(did.drawn)
    }

    /// Returns `true` if the user has closed the window.
    pub(super) fn window_is_closed(&self) -> bool {
        self.window.as_ref().is_some_and(|state| state.is_closed())
    }
}
