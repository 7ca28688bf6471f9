//! Triangle rasterization on the CPU: a second implementation of what a GPU draws, for self-checks.
//!
//! Coverage follows Vulkan's rules (corners on a grid of 1/256 pixel, pixel centers, top-left
//! edges), the depth test is less-or-equal, values are interpolated with perspective. There is no
//! clipping: a triangle with a corner at or behind the eye is left out.

use rayon::prelude::*;

/// The number of rows that one task draws.
const BAND: usize = 16;
/// The grid steps per pixel that corners are rounded to.
const GRID: f32 = 256.0;
/// Corners farther out than this many pixels would overflow the grid's arithmetic.
const FAR_OUT: f32 = (1 << 20) as f32;

/// A corner: its position in clip space and the values that are interpolated between corners.
#[derive(Clone, Copy, Debug)]
pub struct Vertex<const N: usize> {
    /// `gl_Position`.
    pub clip: [f32; 4],
    /// The outputs of the vertex stage.
    pub values: [f32; N],
}

/// Colors and depths, row by row.
#[derive(Clone, Debug)]
pub struct Target {
    /// Pixels in a row, and rows.
    pub size: [usize; 2],
    /// RGBA.
    pub color: Vec<[f32; 4]>,
    depth: Vec<f32>,
}

impl Target {
    /// Creates a target that is filled with `color` and the farthest depth.
    pub fn new(size: [u32; 2], color: [f32; 4]) -> Self {
        let size = size.map(|n| n as usize);
        let count = size[0] * size[1];
        Self { size, color: vec![color; count], depth: vec![1.0; count] }
    }

    /// Draws triangles, each of which is three indices into `vertices`. `shade` is the fragment
    /// stage; it runs once per pixel, for the nearest of these triangles.
    pub fn draw<const N: usize>(
        &mut self,
        vertices: &[Vertex<N>],
        triangles: &[[u32; 3]],
        shade: impl Fn([f32; N]) -> [f32; 4] + Sync,
    ) {
        let [width, height] = self.size;
        let corner = |vertex: &Vertex<N>| Corner::new(vertex, width, height);
        let corners: Vec<Option<Corner<N>>> = vertices.par_iter().map(corner).collect();
        let corner = |index: u32| corners.get(index as usize).and_then(Option::as_ref);
        let faces: Vec<Face<'_, N>> = triangles
            .iter()
            .filter_map(|&[a, b, c]| Face::new(corner(a)?, corner(b)?, corner(c)?))
            .filter(|face| face.top < height)
            .collect();
        let bands = self.color.par_chunks_mut(BAND * width).zip(self.depth.par_chunks_mut(BAND * width));
        bands.enumerate().for_each(|(band, (color, depth))| {
            let top = band * BAND;
            let rows = top..top + depth.len() / width;
            let mut nearest: Vec<Option<[f32; N]>> = vec![None; depth.len()];
            for face in faces.iter().filter(|face| face.top < rows.end && face.bottom > top) {
                face.cover(rows.clone(), width, |x, y, z, values| {
                    let at = (y - top) * width + x;
                    if z <= depth[at] {
                        depth[at] = z;
                        nearest[at] = Some(values);
                    }
                });
            }
            for (color, values) in color.iter_mut().zip(nearest) {
                if let Some(values) = values {
                    *color = shade(values);
                }
            }
        });
    }
}

/// A corner on the pixel grid.
struct Corner<const N: usize> {
    x: i64,
    y: i64,
    z: f32,
    /// 1 / w.
    near: f32,
    values: [f32; N],
}

impl<const N: usize> Corner<N> {
    fn new(vertex: &Vertex<N>, width: usize, height: usize) -> Option<Self> {
        let [x, y, z, w] = vertex.clip;
        let near = 1.0 / w;
        let place = |along: f32, size: usize| (along * near * 0.5 + 0.5) * size as f32;
        let (x, y) = (place(x, width), place(y, height));
        let inside = w > 0.0 && x.abs() < FAR_OUT && y.abs() < FAR_OUT;
        let grid = |at: f32| (at * GRID).round_ties_even() as i64;
        inside.then(|| Self { x: grid(x), y: grid(y), z: z * near, near, values: vertex.values })
    }
}

/// A triangle in clockwise order on the screen, and the rows that it may cover.
struct Face<'a, const N: usize> {
    corners: [&'a Corner<N>; 3],
    area: i64,
    top: usize,
    bottom: usize,
}

impl<'a, const N: usize> Face<'a, N> {
    fn new(a: &'a Corner<N>, b: &'a Corner<N>, c: &'a Corner<N>) -> Option<Self> {
        let area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
        let corners = if area < 0 { [a, c, b] } else { [a, b, c] };
        let ys = corners.map(|corner| corner.y);
        let (low, high) = (ys[0].min(ys[1]).min(ys[2]), ys[0].max(ys[1]).max(ys[2]));
        let row = |at: i64| at.div_euclid(GRID as i64).max(0) as usize;
        (area != 0 && high >= 0).then(|| Self { corners, area: area.abs(), top: row(low), bottom: row(high) + 1 })
    }

    /// Calls `found` with the column, row, depth and values of every pixel of `rows` whose center
    /// the triangle covers.
    fn cover(&self, rows: std::ops::Range<usize>, width: usize, mut found: impl FnMut(usize, usize, f32, [f32; N])) {
        let [a, b, c] = self.corners;
        let xs = [a.x, b.x, c.x];
        let column = |at: i64| at.div_euclid(GRID as i64).clamp(0, width as i64) as usize;
        let (left, right) = (column(xs[0].min(xs[1]).min(xs[2])), column(xs[0].max(xs[1]).max(xs[2])) + 1);
        for y in self.top.max(rows.start)..self.bottom.min(rows.end) {
            for x in left..right.min(width) {
                let center = |n: usize| n as i64 * GRID as i64 + GRID as i64 / 2;
                let (px, py) = (center(x), center(y));
                let edges = [edge(b, c, px, py), edge(c, a, px, py), edge(a, b, px, py)];
                let [Some(e0), Some(e1), Some(e2)] = edges else { continue };
                let share = [e0, e1, e2].map(|edge| edge as f32 / self.area as f32);
                let mix = |of: [f32; 3]| share[0] * of[0] + share[1] * of[1] + share[2] * of[2];
                let weights = [0, 1, 2].map(|i| share[i] * self.corners[i].near);
                let all = weights[0] + weights[1] + weights[2];
                let values = std::array::from_fn(|n| {
                    let [a, b, c] = self.corners.map(|corner| corner.values[n]);
                    (weights[0] * a + weights[1] * b + weights[2] * c) / all
                });
                found(x, y, mix(self.corners.map(|corner| corner.z)), values);
            }
        }
    }
}

/// Returns twice the area between the edge from `a` to `b` and a point on its inner side; `None`
/// for a point on the outer side, or on an edge that is neither a left nor a top edge.
fn edge<const N: usize>(a: &Corner<N>, b: &Corner<N>, x: i64, y: i64) -> Option<i64> {
    let (dx, dy) = (b.x - a.x, b.y - a.y);
    let area = dx * (y - a.y) - dy * (x - a.x);
    let owns = dy < 0 || (dy == 0 && dx > 0);
    (area > 0 || (area == 0 && owns)).then_some(area)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a corner at pixel (x, y) of an 8 x 8 target, with `w` and one value.
    fn at(x: f32, y: f32, z: f32, w: f32, value: f32) -> Vertex<1> {
        Vertex { clip: [(x / 4.0 - 1.0) * w, (y / 4.0 - 1.0) * w, z * w, w], values: [value] }
    }

    fn lit(target: &Target) -> usize {
        target.color.iter().filter(|color| color[0] > 0.0).count()
    }

    #[test]
    fn neighbors_cover_each_pixel_once() {
        let corners =
            [(0.0, 0.0), (8.0, 0.0), (8.0, 8.0), (0.0, 8.0), (3.5, 4.5)].map(|(x, y)| at(x, y, 0.5, 1.0, 1.0));
        let mut hits = [0; 64];
        for triangle in [[0, 1, 4], [1, 2, 4], [4, 2, 3], [0, 4, 3]] {
            let mut target = Target::new([8, 8], [0.0; 4]);
            target.draw(&corners, &[triangle], |_| [1.0; 4]);
            hits.iter_mut().zip(&target.color).for_each(|(hits, color)| *hits += color[0] as u32);
        }
        assert_eq!(hits, [1; 64]);
    }

    #[test]
    fn the_nearer_triangle_is_seen_whatever_the_order() {
        let corners = [(0.2, 1.0), (0.4, 2.0)]
            .map(|(z, value)| [at(0.0, 0.0, z, 1.0, value), at(16.0, 0.0, z, 1.0, value), at(0.0, 16.0, z, 1.0, value)])
            .concat();
        for order in [[[0, 1, 2], [3, 4, 5]], [[3, 5, 4], [0, 1, 2]]] {
            let mut target = Target::new([8, 8], [0.0; 4]);
            target.draw(&corners, &order, |[value]| [value; 4]);
            assert!(target.color.iter().all(|color| color[0] == 1.0));
        }
    }

    #[test]
    fn values_follow_perspective() {
        let corners = [at(0.0, 0.0, 0.5, 1.0, 0.0), at(8.0, 0.0, 0.5, 3.0, 1.0), at(0.0, 8.0, 0.5, 1.0, 0.0)];
        let mut target = Target::new([8, 8], [0.0; 4]);
        target.draw(&corners, &[[0, 1, 2]], |[value]| [value; 4]);
        // Along the row y = 0.5: x = 3.5 is 7/16 of the way on the screen, and 7/16/3 over 9/16 +
        // 7/16/3 of it in space.
        let found = target.color[3][0];
        assert!((found - (7.0 / 48.0) / (9.0 / 16.0 + 7.0 / 48.0)).abs() < 1e-5, "{found}");
    }

    #[test]
    fn triangles_behind_the_eye_or_far_outside_are_clipped() {
        let mut target = Target::new([8, 8], [0.0; 4]);
        let behind = [at(0.0, 0.0, 0.5, 1.0, 1.0), at(8.0, 0.0, 0.5, -1.0, 1.0), at(0.0, 8.0, 0.5, 1.0, 1.0)];
        target.draw(&behind, &[[0, 1, 2]], |_| [1.0; 4]);
        let outside = [at(-9.0, -9.0, 0.5, 1.0, 1.0), at(-8.0, -9.0, 0.5, 1.0, 1.0), at(-9.0, -8.0, 0.5, 1.0, 1.0)];
        target.draw(&outside, &[[0, 1, 2], [0, 1, 9]], |_| [1.0; 4]);
        assert_eq!(lit(&target), 0);
        target.draw(
            &[at(-9.0, 2.0, 0.5, 1.0, 1.0), at(99.0, 2.0, 0.5, 1.0, 1.0), at(4.0, 99.0, 0.5, 1.0, 1.0)],
            &[[0, 1, 2]],
            |_| [1.0; 4],
        );
        assert!(lit(&target) > 20);
    }
}
