//! A camera that goes round a point.

/// The camera that points are seen by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Camera {
    /// The point that it looks at.
    pub(crate) target: [f32; 3],
    /// The distance from there.
    pub(crate) distance: f32,
    /// The angle to the right, in radians. At 0 it looks along -z, with x to the right and y up.
    pub(crate) yaw: f32,
    /// The angle above, in radians.
    pub(crate) pitch: f32,
    /// The angle between the upper and the lower edge of the picture, in radians.
    pub(crate) field_of_view: f32,
}

impl Camera {
    /// From the world to Vulkan's clip space, y downwards and depth from 0 to 1, by columns.
    pub(crate) fn matrix(&self, [width, height]: [u32; 2]) -> [f32; 16] {
        let ((sy, cy), (sp, cp)) = (self.yaw.sin_cos(), self.pitch.sin_cos());
        // The camera's axes in the world: right, up and towards it.
        let axes = [[cy, 0.0, -sy], [-sp * sy, cp, -sp * cy], [cp * sy, sp, cp * cy]];
        let dot = |axis: [f32; 3]| axis.iter().zip(self.target).map(|(a, b)| a * b).sum::<f32>();
        // The target is `distance` in front of it.
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
