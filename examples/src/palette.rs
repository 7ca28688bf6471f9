//! A palette of 255 colors for a whole animation.

/// The bits per channel that distinguish colors.
const BITS: u32 = 6;
/// The number of colors of a palette; the next index is used for transparency.
pub const COLORS: usize = 255;
/// The number of k-means rounds.
const ROUNDS: usize = 4;
/// The amplitude of the dither pattern, in values of a channel.
const DITHER: i32 = 5;

type Color = [f32; 3];

/// Counts the colors of an animation to create a [`Palette`] from them.
pub struct Histogram {
    /// For each cell of the color cube: the count, and the sums of red, green and blue.
    cells: Vec<[u64; 4]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: vec![[0; 4]; 1 << (3 * BITS)] }
    }
}

impl Histogram {
    /// Counts the colors of RGB pixels.
    pub fn add(&mut self, rgb: &[u8]) {
        for &[r, g, b] in rgb.as_chunks::<3>().0 {
            let cell = &mut self.cells[cell_of([r, g, b])];
            for (sum, value) in cell.iter_mut().zip([1, r, g, b].map(u64::from)) {
                *sum += value;
            }
        }
    }

    /// Returns the palette that fits these colors: median cut, then a few rounds of k-means.
    pub fn palette(&self) -> Palette {
        let points: Vec<(Color, f32)> = self
            .cells
            .iter()
            .filter(|cell| cell[0] > 0)
            .map(|cell| {
                let count = cell[0] as f32;
                // The square root keeps a large dark background from taking all colors.
                ([1, 2, 3].map(|i| cell[i] as f32 / count), count.sqrt())
            })
            .collect();
        let mut colors = median_cut(points.clone());
        for _ in 0..ROUNDS {
            refine(&mut colors, &points);
        }
        let colors: Vec<[u8; 3]> = colors.iter().map(|color| color.map(|value| (value + 0.5) as u8)).collect();
        Palette { nearest: vec![None; self.cells.len()], colors }
    }
}

/// Up to [`COLORS`] colors, and the nearest of them for every color.
pub struct Palette {
    colors: Vec<[u8; 3]>,
    nearest: Vec<Option<u8>>,
}

impl Palette {
    /// Returns the colors, three bytes each.
    pub fn bytes(&self) -> Vec<u8> {
        self.colors.concat()
    }

    /// Returns the index of a color near `rgb`. The pixel's position selects one of the two nearest
    /// colors, so that an area between them becomes a fine pattern instead of bands.
    pub fn index(&mut self, rgb: [u8; 3], x: usize, y: usize) -> u8 {
        const PATTERN: [[i32; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];
        let shift = (PATTERN[y & 3][x & 3] * 2 - 15) * DITHER / 15;
        // Reduces the dither of the dark background.
        let shift = if rgb.iter().all(|&value| value < 12) { shift / 3 } else { shift };
        let rgb = rgb.map(|value| (i32::from(value) + shift).clamp(0, 255) as u8);
        let cell = cell_of(rgb);
        if let Some(index) = self.nearest[cell] {
            return index;
        }
        let step = 8 - BITS;
        let middle = rgb.map(|value| f32::from(value >> step << step) + (1 << (step - 1)) as f32);
        let distance = |color: &[u8; 3]| distance(color.map(f32::from), middle);
        let best =
            (0..self.colors.len()).min_by(|&a, &b| distance(&self.colors[a]).total_cmp(&distance(&self.colors[b])));
        let index = best.unwrap_or(0) as u8;
        self.nearest[cell] = Some(index);
        index
    }
}

fn cell_of(rgb: [u8; 3]) -> usize {
    rgb.iter().fold(0, |cell, value| cell << BITS | usize::from(value >> (8 - BITS)))
}

fn distance(a: Color, b: Color) -> f32 {
    let [r, g, b] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    3.0 * r * r + 4.0 * g * g + 2.0 * b * b
}

fn median_cut(points: Vec<(Color, f32)>) -> Vec<Color> {
    let mut boxes = vec![points];
    while boxes.len() < COLORS {
        let spread = |points: &Vec<(Color, f32)>| {
            let weight: f32 = points.iter().map(|point| point.1).sum();
            let (axis, extent) = longest(points);
            (axis, extent * weight.sqrt())
        };
        let Some((widest, (axis, extent))) =
            boxes.iter().map(spread).enumerate().max_by(|a, b| a.1.1.total_cmp(&b.1.1))
        else {
            break;
        };
        if extent <= 0.0 {
            break;
        }
        let mut points = boxes.swap_remove(widest);
        points.sort_by(|a, b| a.0[axis].total_cmp(&b.0[axis]));
        let half = points.iter().map(|point| point.1).sum::<f32>() / 2.0;
        let mut sum = 0.0;
        let middle = points.iter().position(|point| {
            sum += point.1;
            sum >= half
        });
        let upper = points.split_off((middle.unwrap_or(0) + 1).min(points.len() - 1).max(1));
        boxes.push(points);
        boxes.push(upper);
    }
    boxes.iter().filter(|points| !points.is_empty()).map(|points| mean(points)).collect()
}

fn longest(points: &[(Color, f32)]) -> (usize, f32) {
    let extent = |axis: usize| {
        let values = points.iter().map(|point| point.0[axis]);
        values.clone().fold(f32::MIN, f32::max) - values.fold(f32::MAX, f32::min)
    };
    let axes = [0, 1, 2].map(|axis| (axis, extent(axis)));
    axes.into_iter().fold((0, 0.0), |best, axis| if axis.1 > best.1 { axis } else { best })
}

fn mean(points: &[(Color, f32)]) -> Color {
    let weight: f32 = points.iter().map(|point| point.1).sum();
    [0, 1, 2].map(|axis| points.iter().map(|point| point.0[axis] * point.1).sum::<f32>() / weight)
}

/// One round of k-means.
fn refine(colors: &mut [Color], points: &[(Color, f32)]) {
    let mut sums = vec![([0.0_f32; 3], 0.0_f32); colors.len()];
    for (point, weight) in points {
        let best =
            (0..colors.len()).min_by(|&a, &b| distance(colors[a], *point).total_cmp(&distance(colors[b], *point)));
        let (sum, total) = &mut sums[best.unwrap_or(0)];
        for (sum, value) in sum.iter_mut().zip(point) {
            *sum += value * weight;
        }
        *total += weight;
    }
    for (color, (sum, total)) in colors.iter_mut().zip(sums) {
        if total > 0.0 {
            *color = sum.map(|sum| sum / total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colors_are_kept_exactly() {
        let wanted: Vec<[u8; 3]> = vec![[0, 0, 0], [255, 0, 0], [10, 200, 30], [255, 255, 255]];
        let mut histogram = Histogram::default();
        histogram.add(&wanted.concat());
        let mut palette = histogram.palette();
        let mut colors: Vec<[u8; 3]> = palette.bytes().as_chunks::<3>().0.to_vec();
        colors.sort();
        let mut sorted = wanted.clone();
        sorted.sort();
        assert_eq!(colors, sorted);
        for color in wanted {
            let index = usize::from(palette.index(color, 1, 2));
            assert_eq!(palette.bytes()[index * 3..index * 3 + 3], color);
        }
    }

    #[test]
    fn many_colors_are_approximated() {
        let mut histogram = Histogram::default();
        let pixels: Vec<[u8; 3]> = (0..=255).flat_map(|i| (0..=255).map(move |j| [i, j, i / 2 + j / 2])).collect();
        histogram.add(&pixels.concat());
        let mut palette = histogram.palette();
        let bytes = palette.bytes();
        assert!(bytes.len() <= 3 * COLORS);
        for (i, &pixel) in pixels.iter().enumerate().step_by(97) {
            let index = usize::from(palette.index(pixel, i % 7, i % 5)) * 3;
            let off = (0..3).map(|c| bytes[index + c].abs_diff(pixel[c])).max();
            assert!(off < Some(40), "{pixel:?} became {:?}", &bytes[index..index + 3]);
        }
    }

    #[test]
    fn nothing_gives_an_empty_palette() {
        assert!(Histogram::default().palette().bytes().len() <= 3);
    }
}
