//! The view of a scene: the numbers that the shaders and the reference rasterizer share.

use bytemuck::{Pod, Zeroable};

/// The push constants of the vertex stages `spark.vert` and `tile.vert`: 80 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct View {
    /// World to clip space, column by column, with Vulkan's y axis (down) and depth (0..=1).
    pub transform: [f32; 16],
    /// The size of a point in pixels at a clip-space `w` of 1.
    pub point_scale: f32,
    /// The minimum size of a point, in pixels.
    pub point_min: f32,
    /// The maximum size of a point, in pixels; not above the device's limit.
    pub point_max: f32,
    /// The light of a spark at `w` 1, distributed over its area; not used for tiles.
    pub gain: f32,
}

impl View {
    /// Projects `position`: returns x and y in pixels from the top left corner, and `w`; `None`
    /// outside of the clip volume.
    pub fn project(&self, position: [f32; 3], size: [u32; 2]) -> Option<(f32, f32, f32)> {
        let m = &self.transform;
        let [x, y, z] = position;
        let row = |i: usize| m[i] * x + m[4 + i] * y + m[8 + i] * z + m[12 + i];
        let (cx, cy, cz, w) = (row(0), row(1), row(2), row(3));
        let inside = w > 0.0 && cx.abs() <= w && cy.abs() <= w && cz >= 0.0 && cz <= w;
        inside.then(|| {
            let [width, height] = size.map(|n| n as f32);
            ((cx / w * 0.5 + 0.5) * width, (cy / w * 0.5 + 0.5) * height, w)
        })
    }

    /// Returns the size in pixels of a point at `w`.
    pub fn point_size(&self, w: f32) -> f32 {
        (self.point_scale / w).clamp(self.point_min, self.point_max)
    }
}

/// The drawing style of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Round glowing points with additive blending (`spark.vert`, `spark.frag`), glow, and a filmic
    /// curve.
    Sparks,
    /// Opaque or transparent squares, blended in order (`tile.vert`, `tile.frag`), with unchanged
    /// colors.
    Tiles,
}

/// The background, and the conversion from light to the finished picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// How points are drawn.
    pub style: Style,
    /// The color that the target is cleared to: linear light for sparks, sRGB values for tiles.
    pub background: [f32; 3],
}
