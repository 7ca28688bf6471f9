//! [`WindowState`], which the program reads, and sets for an adopted window.

use std::sync::Arc;

use crate::window::input::State;

/// State of a window, after the events handled so far. Clones refer to the same window.
///
/// For a window opened by this crate, events arrive automatically, and calls of these functions
/// take effect in addition. A program that has [adopted](crate::Window::adopt) its window must
/// report everything: size changes, hiding and uncovering, closing, and camera movements. The next
/// [`View::draw`](crate::View::draw) applies them. All functions can be called from any thread.
#[derive(Clone, Debug)]
pub struct WindowState(pub(crate) Arc<State>);

impl WindowState {
    /// Returns `true` if the user has closed the window, or its display has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns `true` while the window is hidden, if the system reports that.
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

    /// Sets whether the window is hidden. Nothing is presented to a hidden window.
    pub fn set_hidden(&self, hidden: bool) {
        self.0.set_hidden(hidden);
    }

    /// Reports that the window is closed: nothing is presented any more, and
    /// [`View::is_running`](crate::View::is_running) is `false`. An adopted window itself is not
    /// changed.
    pub fn close(&self) {
        self.0.close();
    }

    /// Rotates the camera around points, as dragging by `pixels` to the right and downwards does.
    /// Ignored while an image is shown, and for values that are not finite.
    pub fn drag(&self, pixels: [f32; 2]) {
        self.0.drag(pixels);
    }

    /// Moves the camera closer to points, as turning the wheel by `notches` does, or away for
    /// negative values. Ignored in the same cases as [`drag`](Self::drag).
    pub fn zoom(&self, notches: f32) {
        self.0.zoom(notches);
    }

    /// Resets the camera to the program's position.
    pub fn reset_camera(&self) {
        self.0.reset_camera();
    }
}
