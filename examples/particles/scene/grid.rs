//! The layout of the pixels of a picture as square particles in a frame.

/// A picture of `columns` x `rows` cells, each `cell` pixels wide and high, starting at `origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Particles in a row.
    pub columns: u32,
    /// Rows of particles.
    pub rows: u32,
    /// Size of a particle at home, in pixels.
    pub cell: u32,
    /// The top left corner of the first particle, in pixels.
    pub origin: [u32; 2],
}

impl Grid {
    /// Returns the largest grid with the aspect ratio of `picture` that has no more cells than the
    /// picture has pixels, no more than `particles`, and fits a frame of `frame` pixels; with the
    /// largest cell that still fits and that the device can draw as one point (`point_limit`, in
    /// pixels).
    ///
    /// All sizes are at least 1. A picture narrower than a cell of its grid still gets one cell.
    pub fn fit(picture: [u32; 2], frame: [u32; 2], particles: u32, point_limit: f32) -> Self {
        let [width, height] = picture.map(f64::from);
        let [frame_width, frame_height] = frame.map(f64::from);
        let scale =
            (frame_width / width).min(frame_height / height).min((f64::from(particles) / (width * height)).sqrt());
        let [columns, rows] = if scale >= 1.0 {
            picture
        } else {
            let [columns, rows] = [width, height].map(|n| ((n * scale).round() as u32).max(1));
            shrink([columns, rows], picture, frame, particles)
        };
        let cell = (frame[0] / columns).min(frame[1] / rows).clamp(1, (point_limit as u32).max(1));
        let origin = [(frame[0] - columns * cell) / 2, (frame[1] - rows * cell) / 2];
        Self { columns, rows, cell, origin }
    }

    /// Returns the number of particles; at least 1.
    pub fn particles(&self) -> u32 {
        self.columns * self.rows
    }
}

/// Corrects a grid that exceeds a limit after rounding: shortens the side that is too long for the
/// picture's aspect ratio.
fn shrink(grid: [u32; 2], picture: [u32; 2], frame: [u32; 2], particles: u32) -> [u32; 2] {
    let mut grid = [grid[0].min(frame[0]), grid[1].min(frame[1])];
    while u64::from(grid[0]) * u64::from(grid[1]) > u64::from(particles) {
        let wide = u64::from(grid[0]) * u64::from(picture[1]) >= u64::from(grid[1]) * u64::from(picture[0]);
        let side = if grid[1] == 1 || (wide && grid[0] > 1) { 0 } else { 1 };
        // If one side is 1, the aspect ratio cannot be kept: the other side is shortened at once.
        grid[side] = if grid[1 - side] == 1 { particles.min(grid[side]) } else { grid[side] - 1 };
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u32; 2] = [1280, 720];

    #[test]
    fn a_picture_that_fits_is_used_unchanged() {
        let grid = Grid::fit([640, 360], FRAME, 1_000_000, 255.0);
        assert_eq!((grid.columns, grid.rows, grid.cell, grid.origin), (640, 360, 2, [0, 0]));
        let grid = Grid::fit([500, 300], FRAME, 1_000_000, 255.0);
        assert_eq!((grid.columns, grid.rows, grid.cell, grid.origin), (500, 300, 2, [140, 60]));
    }

    #[test]
    fn one_pixel_becomes_one_square_as_large_as_the_device_draws() {
        assert_eq!(Grid::fit([1, 1], FRAME, 1, 255.0).cell, 255);
        assert_eq!(Grid::fit([1, 1], FRAME, 1, 2047.9).cell, 720);
        assert_eq!(Grid::fit([1, 1], [1, 1], 1, 1.0), Grid { columns: 1, rows: 1, cell: 1, origin: [0, 0] });
    }

    #[test]
    fn no_limit_is_exceeded_and_proportions_are_kept() {
        let sizes = [1, 2, 3, 7, 100, 319, 1920, 4001, 32768];
        for picture in sizes.iter().flat_map(|&w| sizes.map(|h| [w, h])) {
            for frame in [[1, 1], [64, 48], [1280, 720], [720, 1280], [16384, 1]] {
                for particles in [1, 2, 10, 5000, 1_000_000] {
                    let grid = Grid::fit(picture, frame, particles, 255.0);
                    let context = format!("{picture:?} in {frame:?} with {particles}: {grid:?}");
                    assert!((1..=particles).contains(&grid.particles()), "{context}");
                    assert!(grid.columns * grid.cell + 2 * grid.origin[0] <= frame[0], "{context}");
                    assert!(grid.rows * grid.cell + 2 * grid.origin[1] <= frame[1], "{context}");
                    assert!(grid.columns <= picture[0] && grid.rows <= picture[1], "{context}");
                    if grid.columns > 20 && grid.rows > 20 {
                        let (is, was) = (grid.columns as f32 / grid.rows as f32, picture[0] as f32 / picture[1] as f32);
                        assert!((is / was - 1.0).abs() < 0.05, "{context}");
                    }
                }
            }
        }
    }
}
