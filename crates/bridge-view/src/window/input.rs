//! Input state of a window, stored until the view reads it.

use std::f32::consts::TAU;
use std::sync::{Mutex, MutexGuard, PoisonError};

use winit::dpi::PhysicalPosition;
use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::keyboard::{Key, NamedKey};

use crate::camera::Camera;

/// Rotation per pixel of a drag, in radians.
const RADIANS_PER_PIXEL: f32 = 0.005;
/// Factor for the distance per notch of the wheel.
const ZOOM_PER_NOTCH: f32 = 0.9;
/// Pixels of smooth scrolling that correspond to one notch.
const PIXELS_PER_NOTCH: f64 = 40.0;
/// Maximum angle above or below the horizontal plane, in radians, slightly less than straight up.
const MAX_PITCH: f32 = 1.55;

/// The user's changes to the camera, relative to the program's camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Orbit {
    yaw: f32,
    pitch: f32,
    /// Factor for the distance.
    distance: f32,
}

impl Default for Orbit {
    fn default() -> Self {
        Self { yaw: 0.0, pitch: 0.0, distance: 1.0 }
    }
}

impl Orbit {
    /// Returns the program's camera with the user's changes.
    pub(crate) fn apply_to(self, camera: Camera) -> Camera {
        let mut pitch = camera.pitch + self.pitch;
        if self.pitch != 0.0 {
            pitch = pitch.clamp(-MAX_PITCH, MAX_PITCH);
        }
        Camera { yaw: camera.yaw + self.yaw, pitch, distance: camera.distance * self.distance, ..camera }
    }

    /// Rotates the camera so that the scene follows the pointer.
    fn drag(&mut self, dx: f32, dy: f32) {
        self.yaw = (self.yaw - dx * RADIANS_PER_PIXEL) % TAU;
        // Limited to the range from straight below to straight above.
        self.pitch = (self.pitch + dy * RADIANS_PER_PIXEL).clamp(-2.0 * MAX_PITCH, 2.0 * MAX_PITCH);
    }

    fn zoom(&mut self, notches: f32) {
        self.distance = (self.distance * ZOOM_PER_NOTCH.powf(notches)).clamp(1e-3, 1e3);
    }
}

/// State of a window, written by the event loop and read by the view. Neither holds the lock during
/// driver calls.
#[derive(Debug, Default)]
pub(crate) struct State(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    closed: bool,
    hidden: bool,
    resized: bool,
    uncovered: bool,
    /// Size of an adopted window, as reported by the program.
    size: [u32; 2],
    dragging: bool,
    pointer: Option<PhysicalPosition<f64>>,
    /// `true` if points are shown, which the user can rotate.
    rotatable: bool,
    orbit: Orbit,
}

/// Changes since the last call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes {
    /// The user has closed the window.
    pub(crate) closed: bool,
    /// The window is hidden.
    pub(crate) hidden: bool,
    /// The size of the window has changed.
    pub(crate) resized: bool,
    /// The window's content is lost.
    pub(crate) uncovered: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain values: they are valid after a panic too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `true` if the user has closed the window.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns `true` if the window is hidden.
    pub(crate) fn is_hidden(&self) -> bool {
        self.lock().hidden
    }

    /// Marks the window as closed, as if the user had closed it.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Sets the size of the program's window.
    pub(crate) fn resize(&self, size: [u32; 2]) {
        let mut inner = self.lock();
        (inner.size, inner.resized) = (size, true);
    }

    /// Returns the size that the program reported last.
    pub(crate) fn size(&self) -> [u32; 2] {
        self.lock().size
    }

    /// The window's content is lost.
    pub(crate) fn uncover(&self) {
        self.lock().uncovered = true;
    }

    pub(crate) fn set_hidden(&self, hidden: bool) {
        let mut inner = self.lock();
        // A window that becomes visible is drawn again.
        inner.uncovered |= !hidden;
        inner.hidden = hidden;
    }

    /// Rotates the camera, if points are shown.
    pub(crate) fn drag(&self, [dx, dy]: [f32; 2]) {
        let mut inner = self.lock();
        if inner.rotatable && dx.is_finite() && dy.is_finite() {
            inner.orbit.drag(dx, dy);
        }
    }

    /// Moves the camera closer, if points are shown.
    pub(crate) fn zoom(&self, notches: f32) {
        let mut inner = self.lock();
        if inner.rotatable && notches.is_finite() {
            inner.orbit.zoom(notches);
        }
    }

    pub(crate) fn reset_camera(&self) {
        self.lock().orbit = Orbit::default();
    }

    /// Sets whether the user can move the camera from now on.
    pub(crate) fn set_rotatable(&self, rotatable: bool) {
        self.lock().rotatable = rotatable;
    }

    pub(crate) fn orbit(&self) -> Orbit {
        self.lock().orbit
    }

    /// Returns the changes since the last call, and resets them.
    pub(crate) fn take_changes(&self) -> Changes {
        let mut inner = self.lock();
        let changes =
            Changes { closed: inner.closed, hidden: inner.hidden, resized: inner.resized, uncovered: inner.uncovered };
        (inner.resized, inner.uncovered) = (false, false);
        changes
    }

    /// Handles an event.
    pub(crate) fn handle_event(&self, event: &WindowEvent) {
        let mut inner = self.lock();
        match event {
            WindowEvent::CloseRequested | WindowEvent::Destroyed => inner.closed = true,
            WindowEvent::Resized(_) | WindowEvent::ScaleFactorChanged { .. } => inner.resized = true,
            WindowEvent::RedrawRequested => inner.uncovered = true,
            WindowEvent::Occluded(hidden) => {
                // A window that becomes visible is drawn again.
                inner.uncovered |= !hidden;
                inner.hidden = *hidden;
            }
            WindowEvent::KeyboardInput {
                event: KeyEvent { logical_key: Key::Named(key), state: ElementState::Pressed, repeat: false, .. },
                // A key that was already held when the window got the focus is not input for this
                // window.
                is_synthetic: false,
                ..
            } => match key {
                NamedKey::Escape => inner.closed = true,
                NamedKey::Home => inner.orbit = Orbit::default(),
                _ => {}
            },
            WindowEvent::MouseInput { button: MouseButton::Left, state, .. } => {
                inner.dragging = *state == ElementState::Pressed;
            }
            WindowEvent::Focused(false) => inner.dragging = false,
            WindowEvent::CursorMoved { position, .. } => {
                let before = inner.pointer.replace(*position);
                if let Some(before) = before.filter(|_| inner.dragging && inner.rotatable) {
                    inner.orbit.drag((position.x - before.x) as f32, (position.y - before.y) as f32);
                }
            }
            WindowEvent::MouseWheel { delta, .. } if inner.rotatable => inner.orbit.zoom(match delta {
                MouseScrollDelta::LineDelta(_, lines) => *lines,
                MouseScrollDelta::PixelDelta(pixels) => (pixels.y / PIXELS_PER_NOTCH) as f32,
            }),
            _ => {}
        }
    }
}
