//! Appearance of frames: exposure, colors, point size and camera.

use crate::camera::Camera;
use crate::error::{Error, Result};

/// Conversion of an image's values to colors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Values are multiplied by 2 to the power of this number. Must be finite; 0 by default.
    pub exposure: f32,
    /// `true` if the values are linear and are encoded as sRGB. Default: `false`, values are shown
    /// unchanged.
    pub linear: bool,
    /// The color map of an image with one channel; gray by default. Other images ignore it.
    pub color_map: ColorMap,
}

/// Colors of an image with one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColorMap {
    /// Black to white.
    #[default]
    Gray,
    /// matplotlib's viridis: dark violet over green to yellow, from 0 to 1.
    Viridis,
}

impl Look {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.exposure.is_finite() {
            return Ok(());
        }
        Err(Error::invalid("look", format!("exposure is {}; it must be finite", self.exposure)))
    }
}

/// Camera, size and color of points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointLook {
    /// The camera's initial position. In a window, the user can move the camera from there.
    pub camera: Camera,
    /// Width and height of a point in pixels, from 1 to 64; 2 by default.
    pub size: u32,
    /// Red, green, blue and alpha of points without a value or colors; white by default.
    pub color: [u8; 4],
}

impl Default for PointLook {
    fn default() -> Self {
        Self { camera: Camera::default(), size: 2, color: [255; 4] }
    }
}

impl PointLook {
    pub(crate) fn validate(&self) -> Result<()> {
        if !(1..=64).contains(&self.size) {
            return Err(Error::invalid("points", format!("size is {}; it must be from 1 to 64 pixels", self.size)));
        }
        self.camera.validate()
    }
}
