//! Drawn images, compared pixel by pixel.

use bridge::Compute;
use bridge::half::f16;
use bridge_tests::Rig;
use bridge_view::{ColorMap, Element, ImageFormat, Look};

use crate::{PIXELS, SIZE, noise, shown, view, view_of};

/// Returns the values as an image stores them.
fn encoded(values: &[u8], element: Element) -> Vec<u8> {
    match element {
        Element::F16 => values.iter().flat_map(|&v| f16::from_f32(f32::from(v) / 255.0).to_ne_bytes()).collect(),
        Element::F32 => values.iter().flat_map(|&v| (f32::from(v) / 255.0).to_ne_bytes()).collect(),
        _ => values.to_vec(),
    }
}

pub(crate) fn every_element_and_channel_count_is_drawn_exactly(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    assert!(view.pixels().unwrap().chunks_exact(4).all(|pixel| pixel == [0, 0, 0, 255]), "black before the first");
    for element in [Element::U8, Element::F16, Element::F32] {
        for channels in 1..=4u32 {
            let values = noise(PIXELS * channels as usize, channels);
            let format = ImageFormat::new(SIZE, channels, element).unwrap();
            let found = shown(&mut view, format, &Look::default(), &encoded(&values, element));
            for (pixel, (found, values)) in found.iter().zip(values.chunks_exact(channels as usize)).enumerate() {
                let expected = match *values {
                    [gray] => [gray, gray, gray, 255],
                    [red, green] => [red, green, 0, 255],
                    [red, green, blue] => [red, green, blue, 255],
                    [red, green, blue, alpha] => [red, green, blue, alpha],
                    _ => unreachable!("one to four channels"),
                };
                assert_eq!(*found, expected, "{format}: pixel {pixel}");
            }
            // The same image with planar channels.
            let planes = |channel: u32| values.iter().skip(channel as usize).step_by(channels as usize).copied();
            let planes: Vec<u8> = (0..channels).flat_map(planes).collect();
            let planar = format.planar();
            assert_eq!((planar.is_planar(), planar.size()), (channels > 1, format.size()));
            assert_eq!(shown(&mut view, planar, &Look::default(), &encoded(&planes, element)), found, "{planar}");
        }
    }
}

pub(crate) fn values_are_exposed_encoded_and_colored(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let format = ImageFormat::new(SIZE, 1, Element::F32).unwrap();
    let mut first = |value: f32, look: Look| {
        let bytes: Vec<u8> = (0..PIXELS).flat_map(|_| value.to_ne_bytes()).collect();
        let found = shown(&mut view, format, &look, &bytes);
        assert!(found.iter().all(|pixel| *pixel == found[0]));
        found[0]
    };
    let plain = Look::default();
    let viridis = Look { color_map: ColorMap::Viridis, ..plain };
    assert_eq!(first(0.25, plain), [64, 64, 64, 255]);
    assert_eq!(first(0.25, Look { exposure: 1.0, ..plain }), [128, 128, 128, 255]);
    // 0.25 linear is 0.537 encoded.
    assert_eq!(first(0.25, Look { linear: true, ..plain }), [137, 137, 137, 255]);
    assert_eq!(first(-1.0, plain), [0, 0, 0, 255]);
    assert_eq!(first(f32::INFINITY, plain), [255; 4]);
    assert_eq!(first(f32::NAN, plain), [255, 0, 255, 255], "it stands out");
    // The factor is never infinite or 0.
    assert_eq!(first(f32::INFINITY, Look { exposure: -200.0, ..plain }), [255; 4]);
    assert_eq!(first(0.0, Look { exposure: 200.0, ..viridis }), first(0.0, viridis));
    // The colors of matplotlib, which a polynomial approximates.
    for (value, expected) in [(0.0, [68, 1, 84, 255]), (1.0, [253, 231, 37, 255])] {
        let found = first(value, viridis);
        assert!(found.iter().zip(expected).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 4), "{value}: {found:?}");
    }
}

pub(crate) fn images_of_other_sizes_are_scaled(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let one = ImageFormat::new([1, 1], 4, Element::U8).unwrap();
    let found = shown(&mut view, one, &Look::default(), &[10, 20, 30, 255]);
    assert!(found.iter().all(|pixel| *pixel == [10, 20, 30, 255]));
    // Each pixel twice in both directions, shown at half the size.
    let [width, height] = SIZE.map(|side| side as usize);
    let values = noise(PIXELS, 9);
    let doubled: Vec<u8> = (0..4 * PIXELS).map(|i| values[i / (2 * width) / 2 * width + i % (2 * width) / 2]).collect();
    let double = ImageFormat::new([2 * width as u32, 2 * height as u32], 1, Element::U8).unwrap();
    let found = shown(&mut view, double, &Look::default(), &doubled);
    assert!(found.iter().zip(&values).all(|(pixel, value)| pixel[0].abs_diff(*value) <= 1));
}

/// Infinite values are drawn as the brightest or darkest color, and only NaN is highlighted, in
/// every pixel that a NaN contributes to.
pub(crate) fn values_that_are_not_finite_are_scaled(_: &Rig, compute: &Compute) {
    const MAGENTA: [u8; 4] = [255, 0, 255, 255];
    let mut view = view(compute);
    let mut scaled = |[width, height]: [u32; 2], value: &dyn Fn(u32, u32) -> f32| {
        let format = ImageFormat::new([width, height], 1, Element::F32).unwrap();
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let bytes: Vec<u8> = places.flat_map(|(x, y)| value(x, y).to_ne_bytes()).collect();
        let found = shown(&mut view, format, &Look::default(), &bytes);
        let places = (0..SIZE[1]).flat_map(|y| (0..SIZE[0]).map(move |x| (x, y)));
        places.zip(found).collect::<Vec<_>>()
    };
    let (half, triple) = (SIZE.map(|side| side / 2), SIZE.map(|side| 3 * side));
    for most in [f32::INFINITY, f32::MAX] {
        for ((x, y), pixel) in scaled(half, &|x, _| if x < half[0] / 2 { most } else { -most }) {
            let expected = if x < SIZE[0] / 2 { [255; 4] } else { [0, 0, 0, 255] };
            assert_eq!(pixel, expected, "{most} at {x}, {y}");
        }
    }
    // Each pixel is one texel, in the middle of nine.
    for ((x, y), pixel) in scaled(triple, &|x, y| if (x % 3, y % 3) == (1, 1) { 0.5 } else { f32::NAN }) {
        assert_eq!(pixel, [128, 128, 128, 255], "at {x}, {y}");
    }
    for ((x, y), pixel) in scaled(half, &|x, y| if (x, y) == (5, 4) { f32::NAN } else { 0.5 }) {
        let is_seen = (9..=12).contains(&x) && (7..=10).contains(&y);
        assert_eq!(pixel == MAGENTA, is_seen, "{pixel:?} at {x}, {y}");
    }
}

/// The shader reads words, and the last word is incomplete.
pub(crate) fn odd_sizes_of_bytes_are_drawn(_: &Rig, compute: &Compute) {
    let mut view = view_of(compute, [5, 3]);
    let format = ImageFormat::new([5, 3], 3, Element::U8).unwrap();
    assert_eq!((format.size(), format.buffer_size()), (45, 48));
    let values = noise(45, 4);
    let found = shown(&mut view, format, &Look::default(), &values);
    assert!(found.iter().zip(values.chunks_exact(3)).all(|(pixel, values)| pixel[..3] == *values));
}
