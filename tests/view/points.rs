//! Points, and where they are visible.

use bridge::{BufferSpec, Compute, Exchange};
use bridge_tests::Rig;
use bridge_view::{Camera, PointFormat, PointKind, PointLook, View};

use crate::{SIZE, info, pixels, view, write};

/// Returns the picture of these points, which does not depend on whether their attributes are
/// separate.
fn seen<const N: usize>(view: &mut View, points: &[[f32; N]], kind: PointKind, look: PointLook) -> Vec<[u8; 4]> {
    assert_eq!(kind.floats() as usize, N);
    let format = PointFormat::new(points.len() as u32, kind).unwrap();
    let numbers: Vec<f32> = points.iter().flatten().copied().collect();
    let picture = drawn(view, format, &numbers, look);
    let apart = |range: std::ops::Range<usize>| points.iter().flat_map(move |point| &point[range.clone()]);
    let numbers: Vec<f32> = apart(0..3).chain(apart(3..N)).copied().collect();
    let separate = format.separate();
    assert_eq!((separate.is_separate(), separate.size()), (N > 3, format.size()));
    assert_eq!(drawn(view, separate, &numbers, look), picture, "{separate}");
    picture
}

fn drawn(view: &mut View, format: PointFormat, numbers: &[f32], look: PointLook) -> Vec<[u8; 4]> {
    let spec: BufferSpec<u8> = format.spec().unwrap();
    let mut exchange = Exchange::new(view.compute(), &info(), spec).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, bytemuck::cast_slice(numbers));
    view.show_points(turn.finish().unwrap(), format, &look).unwrap();
    assert!(view.draw().unwrap());
    pixels(view)
}

/// Returns the rows and columns that are not black.
fn lit(picture: &[[u8; 4]]) -> Vec<[usize; 2]> {
    let width = SIZE[0] as usize;
    let lit = picture.iter().enumerate().filter(|(_, pixel)| pixel[..3] != [0; 3]);
    lit.map(|(place, _)| [place / width, place % width]).collect()
}

const MIDDLE: [[usize; 2]; 4] = [[7, 11], [7, 12], [8, 11], [8, 12]];

pub(crate) fn a_point_is_drawn_where_it_is(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let mut lit_by = |point: [f32; 3], look| lit(&seen(&mut view, &[point], PointKind::Position, look));
    let look = PointLook::default();
    let small = PointLook { size: 1, ..look };
    assert_eq!(lit_by([0.0; 3], look), MIDDLE);
    // x is to the right, y is up.
    let [row, column] = lit_by([0.5, 0.7, 0.0], small)[0];
    assert!(column > 12 && row < 8, "row {row}, column {column}");
    // The edge of the picture: the tangent of half the angle, times the distance.
    let edge = 3.0 * 0.4_f32.tan();
    assert_eq!(lit_by([0.0, edge * 0.99, 0.0], small)[0][0], 0);
    assert!(lit_by([0.0, edge * 1.2, 0.0], small).is_empty());
    // Behind the camera, and NaN.
    assert!(lit_by([0.0, 0.0, 4.0], look).is_empty() && lit_by([f32::NAN, 0.0, 0.0], look).is_empty());
    let camera = Camera { target: [5.0, 6.0, 7.0], yaw: 1.0, pitch: 0.5, distance: 9.0, ..Camera::default() };
    assert_eq!(lit_by([5.0, 6.0, 7.0], PointLook { camera, ..look }), MIDDLE);
}

pub(crate) fn the_nearest_point_is_seen_with_its_color(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let middle = 8 * SIZE[0] as usize + 12;
    let (red, blue) = ([0.0, 0.0, 0.5, 1.0, 0.0, 0.0], [0.0, 0.0, -0.5, 0.0, 0.0, 1.0]);
    let look = PointLook { size: 4, ..PointLook::default() };
    for points in [[red, blue], [blue, red]] {
        assert_eq!(seen(&mut view, &points, PointKind::Color, look)[middle], [255, 0, 0, 255]);
        let behind = Camera { yaw: std::f32::consts::PI, ..look.camera };
        let look = PointLook { camera: behind, ..look };
        assert_eq!(seen(&mut view, &points, PointKind::Color, look)[middle], [0, 0, 255, 255]);
    }
    let green = PointLook { color: [0, 255, 0, 255], ..look };
    assert_eq!(seen(&mut view, &[[0.0; 3]], PointKind::Position, green)[middle], [0, 255, 0, 255]);
    let yellow = seen(&mut view, &[[0.0, 0.0, 0.0, 1.0]], PointKind::Value, look)[middle];
    assert!(yellow.iter().zip([253_u8, 231, 37, 255]).all(|(a, b)| a.abs_diff(b) <= 4), "{yellow:?}");
}
