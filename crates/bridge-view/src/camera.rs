//! A camera that orbits a point.

use crate::error::{Error, Result};

/// The camera for drawing points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// The point that the camera looks at.
    pub target: [f32; 3],
    /// The distance from the target, greater than 0.
    pub distance: f32,
    /// The rotation to the right, in radians. At 0 the camera looks along -z, with x to the right
    /// and y up.
    pub yaw: f32,
    /// The angle above the horizontal plane, in radians.
    pub pitch: f32,
    /// The vertical field of view, in radians, from 0.01 to 3.
    pub field_of_view: f32,
}

impl Default for Camera {
    /// Looks at the origin from a distance of 3, along -z, with a field of view of 0.8.
    fn default() -> Self {
        Self { target: [0.0; 3], distance: 3.0, yaw: 0.0, pitch: 0.0, field_of_view: 0.8 }
    }
}

impl Camera {
    pub(crate) fn validate(&self) -> Result<()> {
        let Self { target: [x, y, z], distance, yaw, pitch, field_of_view } = *self;
        let finite = [x, y, z, distance, yaw, pitch].iter().all(|number| number.is_finite());
        if finite && distance > 0.0 && (0.01..=3.0).contains(&field_of_view) {
            return Ok(());
        }
        let reason = "all its numbers must be finite, its distance above 0, and its field of view from 0.01 to 3";
        Err(Error::invalid("camera", reason))
    }

    /// Returns the column-major matrix from world space to Vulkan's clip space, with y downwards
    /// and depth from 0 to 1.
    pub(crate) fn matrix(&self, [width, height]: [u32; 2]) -> [f32; 16] {
        let ((sy, cy), (sp, cp)) = (self.yaw.sin_cos(), self.pitch.sin_cos());
        // The camera's axes in world space: right, up, and towards the camera.
        let axes = [[cy, 0.0, -sy], [-sp * sy, cp, -sp * cy], [cp * sy, sp, cp * cy]];
        let dot = |axis: [f32; 3]| axis.iter().zip(self.target).map(|(a, b)| a * b).sum::<f32>();
        // The target is at `distance` in front of the camera.
        let offset = [-dot(axes[0]), -dot(axes[1]), -dot(axes[2]) - self.distance];
        let (near, far) = (self.distance * 1e-3, self.distance * 1e3);
        let y = 1.0 / (self.field_of_view / 2.0).tan();
        let x = y * height as f32 / width as f32;
        let (z, zw) = (far / (near - far), near * far / (near - far));
        let column = |a: f32, b: f32, c: f32, w: f32| [x * a, -y * b, z * c + zw * w, -c];
        let axis = |i: usize| column(axes[0][i], axes[1][i], axes[2][i], 0.0);
        let columns = [axis(0), axis(1), axis(2), column(offset[0], offset[1], offset[2], 1.0)];
        let mut matrix = [0.0; 16];
        for (target, entry) in matrix.iter_mut().zip(columns.iter().flatten()) {
            *target = *entry;
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(camera: &Camera, [x, y, z]: [f32; 3]) -> [f32; 3] {
        let matrix = camera.matrix([200, 100]);
        let row = |row: usize| (0..4).map(|column| matrix[4 * column + row] * [x, y, z, 1.0][column]).sum::<f32>();
        [0, 1, 2].map(|axis| row(axis) / row(3))
    }

    #[test]
    fn target_is_centered_and_y_points_down() {
        let camera = Camera { target: [1.0, 2.0, 3.0], yaw: 0.7, pitch: -0.3, ..Camera::default() };
        let [x, y, z] = seen(&camera, camera.target);
        assert!(x.abs() < 1e-5 && y.abs() < 1e-5 && (0.0..1.0).contains(&z), "{x} {y} {z}");
        let [x, y, _] = seen(&Camera::default(), [0.1, 0.1, 0.0]);
        assert!(x > 0.0 && y < 0.0 && (x + y / 2.0).abs() < 1e-5, "{x} {y}");
    }

    #[test]
    fn invalid_cameras_are_refused() {
        let good = Camera::default();
        assert!(good.validate().is_ok());
        let [far, flat, wide] = [f32::INFINITY, 0.0, 3.1];
        for bad in [
            Camera { target: [0.0, far, 0.0], ..good },
            Camera { distance: flat, ..good },
            Camera { pitch: f32::NAN, ..good },
            Camera { field_of_view: wide, ..good },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
