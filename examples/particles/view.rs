//! How a scene is looked at: the numbers that the shaders and the reference rasteriser share.

use bytemuck::{Pod, Zeroable};

/// The push constants of the vertex stages `spark.vert` and `tile.vert`: 80 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct View {
    /// World to clip space, column by column, with Vulkan's y axis (down) and depth (0..=1).
    pub transform: [f32; 16],
    /// Size of a point, in pixels, where `w` of clip space is 1.
    pub point_scale: f32,
    /// The smallest point, in pixels.
    pub point_min: f32,
    /// The largest point, in pixels; never above the device's limit.
    pub point_max: f32,
    /// Light of a spark at `w` 1, spread over its area; tiles do not use it.
    pub gain: f32,
}

impl View {
    /// Where `position` lands: x and y in pixels from the top left corner, and `w`. `None` outside
    /// the clip volume.
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

    /// The size in pixels of a point at `w`.
    pub fn point_size(&self, w: f32) -> f32 {
        (self.point_scale / w).clamp(self.point_min, self.point_max)
    }
}

/// How points become a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Round glowing points that add up (`spark.vert`, `spark.frag`), glow, and a filmic curve.
    Sparks,
    /// Opaque or transparent squares, one over the other (`tile.vert`, `tile.frag`), with their
    /// colors left alone.
    Tiles,
}

/// What lies behind the points, and how the finished picture is made from the light they leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// How points are drawn.
    pub style: Style,
    /// What the target is cleared to: linear light for sparks, sRGB values for tiles.
    pub background: [f32; 3],
}
