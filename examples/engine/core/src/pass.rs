//! The two passes of a frame.

/// The two submissions of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The rendering of the scene.
    Scene,
    /// The rendering of the picture that is shown, composed from the scene.
    Picture,
}
