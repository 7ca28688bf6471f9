//! The two passes of a frame.

/// The two submissions of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Everything that is drawn.
    Scene,
    /// The picture that is shown, composed of the scene.
    Picture,
}
