//! The ring that shows the image, and its lighting: twin of `ring.vert`, `ring.frag` and
//! `develop.frag`.

use bytemuck::{Pod, Zeroable};
use glam::{Mat4, Vec3, Vec4};
use rayon::prelude::*;

use crate::camera::{lens, smoothstep, toward};
use crate::color::{dither, filmic, rgba8, srgb};
use crate::maths::{cos_turns, sin_turns};
use crate::raster::{Target, Vertex};
use crate::texture::growth::Texel;

/// The distance from the center of the ring to the center of its tube.
const MAJOR: f32 = 1.0;
/// The radius of the tube.
const MINOR: f32 = 0.46;
/// The height of catalyst 1, in cells: the steepness of ridges does not depend on the grid.
const RELIEF: f32 = 13.0;
/// Tangent of half the vertical field of view.
const HALF_VIEW: f32 = 0.265;
/// The distance from the camera to the center of the ring.
const DISTANCE: f32 = 5.0;
/// The rotation of the ring per frame, in turns.
const TURN: f32 = 1.0 / 1440.0;
/// The number of frames per turn.
const TURN_FRAMES: u64 = 1440;

/// The color behind the ring, at the top and at the bottom: linear light.
const BACKGROUND: [[f32; 4]; 2] = [[0.006, 0.010, 0.020, 0.0], [0.040, 0.034, 0.042, 0.0]];

/// The push constants of `ring.vert` and `ring.frag`: 100 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct View {
    /// World to clip space, column by column, with Vulkan's y axis (down) and depth (0..=1).
    transform: [f32; 16],
    /// The position of the camera.
    eye: [f32; 3],
    /// The height of catalyst 1.
    relief: f32,
    /// The direction of the light; of length 1.
    light: [f32; 3],
    /// Quads along the ring.
    along: u32,
    /// Quads around the tube.
    around: u32,
}

/// The push constants of `develop.frag`: 36 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Develop {
    /// [`BACKGROUND`].
    background: [[f32; 4]; 2],
    /// Texels of light on each side of a pixel.
    samples: i32,
}

impl Develop {
    /// Creates the constants for `samples` texels on each side of a pixel.
    pub fn new(samples: u32) -> Self {
        Self { background: BACKGROUND, samples: samples as i32 }
    }
}

impl View {
    /// Returns the view in frame `frame`, for a picture of `size` pixels and an image of `grid`
    /// cells.
    pub fn new(frame: u64, size: [u32; 2], grid: [u32; 2]) -> Self {
        let turn = (frame % TURN_FRAMES) as f32 * TURN;
        let (rise, side) = (0.088, turn + 0.04);
        let eye = toward(rise, side) * DISTANCE;
        let look = glam::camera::rh::view::look_at_mat4(eye, Vec3::new(0.0, -0.06, 0.0), Vec3::Y);
        let lens = lens(HALF_VIEW, size, 1.0, 20.0);
        Self {
            transform: (lens * look).to_cols_array(),
            eye: eye.to_array(),
            relief: RELIEF * std::f32::consts::TAU * MAJOR / grid[0] as f32,
            light: toward(0.14, side - 0.15).to_array(),
            along: grid[0] / 2,
            around: grid[1] / 2,
        }
    }

    /// Returns the number of vertices of a strip around the tube, and the number of strips of the
    /// ring.
    pub fn strips(&self) -> [u32; 2] {
        [2 * (self.around + 1), self.along]
    }
}

/// Reads the image as a sampler with a linear filter and repeating addresses does.
struct Sampler<'a> {
    texels: &'a [Texel],
    size: [usize; 2],
}

impl Sampler<'_> {
    fn at(&self, u: f32, v: f32) -> Vec4 {
        let [x, y] = [u * self.size[0] as f32 - 0.5, v * self.size[1] as f32 - 0.5];
        let (left, top) = (x.floor(), y.floor());
        let fetch = |x: f32, y: f32| {
            let wrap = |at: f32, side: usize| (at as i64).rem_euclid(side as i64) as usize;
            let texel = self.texels[wrap(y, self.size[1]) * self.size[0] + wrap(x, self.size[0])];
            Vec4::from_array(texel.map(f32::from))
        };
        let above = fetch(left, top).lerp(fetch(left + 1.0, top), x - left);
        let below = fetch(left, top + 1.0).lerp(fetch(left + 1.0, top + 1.0), x - left);
        above.lerp(below, y - top)
    }
}

/// A point on the ring, and the directions along the ring, around the tube and outwards.
struct Frame {
    along: Vec3,
    around: Vec3,
    out: Vec3,
    place: Vec3,
}

/// Returns the frame at `u` turns along the ring and `v` turns around the tube, `height` above it.
fn frame(u: f32, v: f32, height: f32) -> Frame {
    let from_axis = Vec3::new(cos_turns(u), 0.0, sin_turns(u));
    let out = from_axis * cos_turns(v) + Vec3::Y * sin_turns(v);
    Frame {
        along: Vec3::new(-sin_turns(u), 0.0, cos_turns(u)),
        around: Vec3::Y * cos_turns(v) - from_axis * sin_turns(v),
        out,
        place: from_axis * MAJOR + out * (MINOR + height),
    }
}

/// Returns the surroundings of the ring in direction `at`: a dim room with a large soft light
/// above.
fn room(at: Vec3, light: Vec3) -> Vec3 {
    let dim = Vec3::new(0.030, 0.034, 0.045).lerp(Vec3::new(0.20, 0.30, 0.44), smoothstep(-0.5, 1.0, at.y));
    dim + Vec3::new(2.4, 2.1, 1.8) * smoothstep(0.72, 0.97, at.dot(light))
}

/// Returns the light that the camera sees at a point of the ring. Twin of `ring.frag`.
fn shade(view: &View, image: &Sampler<'_>, u: f32, v: f32) -> [f32; 4] {
    use std::f32::consts::TAU;
    let texel = image.at(u, v);
    let Frame { along, around, out, place } = frame(u, v, view.relief * texel.x);
    let [columns, rows] = image.size.map(|n| n as f32);
    let steepness = |slope: f32, cells: f32, length: f32| view.relief * 0.5 * slope * cells / length;
    let girth = TAU * (MAJOR + MINOR * cos_turns(v));
    let normal =
        (out - along * steepness(texel.y, columns, girth) - around * steepness(texel.z, rows, TAU * MINOR)).normalize();
    let (eye, light) = (Vec3::from_array(view.eye), Vec3::from_array(view.light));
    let to_eye = (eye - place).normalize();

    let ridge = smoothstep(0.05, 0.30, texel.x);
    let crest = smoothstep(0.22, 0.42, texel.x);
    let valley =
        Vec3::new(0.010, 0.020, 0.060).lerp(Vec3::new(0.015, 0.130, 0.190), 1.0 - smoothstep(0.55, 1.0, texel.w));
    let coral = Vec3::new(0.85, 0.16, 0.075).lerp(Vec3::new(1.0, 0.70, 0.36), crest);
    let color = valley.lerp(coral, ridge);
    let open = (0.30 + 0.70 * ridge) * (0.40 + 0.60 * smoothstep(-1.1, 0.3, cos_turns(v)));

    let facing = normal.dot(light).max(0.0);
    let sky = Vec3::new(0.05, 0.045, 0.055).lerp(Vec3::new(0.24, 0.32, 0.46), normal.y * 0.5 + 0.5);
    let diffuse = color * (Vec3::new(2.3, 2.1, 1.85) * facing * (0.35 + 0.65 * open) + sky * open);
    let grazing = 1.0 - normal.dot(to_eye).clamp(0.0, 1.0);
    let gloss = 0.045 + 0.955 * grazing.powi(5);
    let mirrored = normal * (2.0 * normal.dot(to_eye)) - to_eye;
    let glint = normal.dot((to_eye + light).normalize()).max(0.0).powi(64) * facing;
    let specular = room(mirrored, light) * (gloss * open) + Vec3::splat(1.5 * glint);
    (diffuse + specular).extend(1.0).to_array()
}

/// Returns the light of a picture of `size` texels, as `ring.vert` and `ring.frag` draw it; alpha
/// is the coverage of the ring.
pub fn draw(view: &View, texels: &[Texel], grid: [u32; 2], size: [u32; 2]) -> Vec<[f32; 4]> {
    let image = Sampler { texels, size: grid.map(|n| n as usize) };
    let transform = Mat4::from_cols_array(&view.transform);
    let (along, around) = (view.along, view.around);
    let corners: Vec<Vertex<2>> = (0..(along + 1) * (around + 1))
        .into_par_iter()
        .map(|i| {
            let u = (i / (around + 1)) as f32 / along as f32;
            let v = (i % (around + 1)) as f32 / around as f32;
            let place = frame(u, v, view.relief * image.at(u, v).x).place;
            Vertex { clip: (transform * place.extend(1.0)).to_array(), values: [u, v] }
        })
        .collect();
    let triangles: Vec<[u32; 3]> = (0..along * around)
        .flat_map(|i| {
            let a = i / around * (around + 1) + i % around;
            let b = a + around + 1;
            [[a, b, a + 1], [a + 1, b, b + 1]]
        })
        .collect();
    let mut target = Target::new(size, [0.0; 4]);
    target.draw(&corners, &triangles, |[u, v]| shade(view, &image, u, v));
    target.color
}

/// Converts light to a picture of `size` pixels: RGBA8, row by row. Twin of `develop.frag`.
pub fn develop(light: &[[f32; 4]], size: [u32; 2], info: &Develop) -> Vec<u8> {
    let [width, height] = size.map(|n| n as usize);
    let side = info.samples as usize;
    let [top, bottom] = info.background.map(Vec4::from_array);
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        let texel = |s: usize| light[(y * side + s / side) * width * side + x * side + s % side];
        let sum: Vec4 = (0..side * side).map(|s| Vec4::from_array(texel(s))).sum();
        let mean = sum / (side * side) as f32;
        let behind = top.lerp(bottom, (y as f32 + 0.5) / height as f32);
        let seen = mean + behind * (1.0 - mean.w);
        let dither = dither(x as u32, y as u32);
        rgba8([seen.x, seen.y, seen.z].map(|channel| srgb(filmic(channel)) + dither))
    };
    (0..width * height).into_par_iter().flat_map_iter(pixel).collect()
}
