//! State of a window, which the program reads, and sets for a window of its own.

use std::sync::Arc;

use crate::window::input::State;

/// State of a window after the events so far. A clone is of the same window.
///
/// Events of a window that was opened here arrive by themselves, and calls that pass one on act
/// beside them. A program that [adopted](crate::Window::adopt) its own window passes on all: its
/// sizes, that it is hidden or was uncovered, that it was closed, and how the user moves the
/// camera. The next [`View::draw`](crate::View::draw) acts on them. Any thread may.
#[derive(Clone, Debug)]
pub struct WindowState(pub(crate) Arc<State>);

impl WindowState {
    /// Returns `true` once the user has closed the window, or its display has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns `true` while nobody sees the window, where the system tells.
    pub fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Reports the window's new size, in pixels. Nothing is presented to a window without any area,
    /// such as a minimized one.
    pub fn resized(&self, size: [u32; 2]) {
        self.0.resize(size);
    }

    /// Reports that the window's content is lost, for example after X11's `Expose`: the picture is
    /// presented again.
    pub fn uncovered(&self) {
        self.0.uncover();
    }

    /// Sets whether the window is hidden. Nothing is presented in a hidden one.
    pub fn set_hidden(&self, hidden: bool) {
        self.0.set_hidden(hidden);
    }

    /// Reports that the window is closed: nothing is presented any more, and
    /// [`View::is_running`](crate::View::is_running) is `false`. A window of the program's own
    /// stays as it is.
    pub fn close(&self) {
        self.0.close();
    }

    /// Turns the camera round points, as dragging by so many pixels to the right and downwards
    /// does. Ignored while an image is shown, and for numbers that are not finite.
    pub fn drag(&self, pixels: [f32; 2]) {
        self.0.drag(pixels);
    }

    /// Moves the camera closer to points, as so many notches of the wheel do; away for less than 0.
    /// Ignored as [`drag`](Self::drag) is.
    pub fn zoom(&self, notches: f32) {
        self.0.zoom(notches);
    }

    /// Puts the camera back where the program has it.
    pub fn reset_camera(&self) {
        self.0.reset_camera();
    }
}
