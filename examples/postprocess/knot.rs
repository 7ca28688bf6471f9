//! The scene: a knotted tube of dark metal with glowing seams, and orbs around it. Twin of
//! `knot.vert`, `knot.frag`, `orb.vert` and `orb.frag`.

use bytemuck::{Pod, Zeroable};
use glam::{Mat4, Vec3};
use rayon::prelude::*;

use crate::camera::{lens, smoothstep, toward};
use crate::maths::{cos_turns, hash, sin_turns};
use crate::raster::{Target, Vertex};

/// The number of windings of the tube around the axis, and around the ring.
const WINDINGS: [f32; 2] = [2.0, 3.0];
/// The distance from the axis to the center of the ring's cross section, the radius of that cross
/// section, and the radius of the tube.
const RADII: [f32; 3] = [1.0, 0.44, 0.165];
/// Quads along the tube and around it.
const TUBE: [u32; 2] = [720, 48];
/// Quads along the equator and from pole to pole of an orb.
const ORB: [u32; 2] = [32, 16];
/// The number of orbs.
const ORBS: u32 = 56;
/// Tangent of half the vertical field of view.
const HALF_VIEW: f32 = 0.30;
/// The distance from the camera to the center.
const DISTANCE: f32 = 5.0;
/// The number of frames of the loop.
const LOOP: u64 = 720;
/// The color of the background.
pub const BACKGROUND: [f32; 3] = [0.0015, 0.0018, 0.0036];

/// The push constants of all four shaders: 104 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct View {
    /// World to clip space, column by column, with Vulkan's y axis (down) and depth (0..=1).
    transform: [f32; 16],
    /// The position of the camera.
    eye: [f32; 3],
    /// The time, in turns: 1 is the same as 0.
    time: f32,
    /// The direction of the light; of length 1.
    light: [f32; 3],
    /// The seed of the orbs' positions and colors.
    seed: u32,
    /// Quads along the mesh that is drawn, and across it.
    mesh: [u32; 2],
}

impl View {
    /// Returns the view in frame `frame`, for a picture of `size` pixels; `seed` determines the
    /// orbs.
    pub fn new(frame: u64, size: [u32; 2], seed: u64) -> Self {
        let time = (frame % LOOP) as f32 / LOOP as f32;
        let (rise, side) = (0.065 + 0.02 * sin_turns(time), time + 0.06);
        let eye = toward(rise, side) * DISTANCE;
        let look = glam::camera::rh::view::look_at_mat4(eye, Vec3::ZERO, Vec3::Y);
        Self {
            transform: (lens(HALF_VIEW, size, 1.0, 20.0) * look).to_cols_array(),
            eye: eye.to_array(),
            time,
            light: toward(0.13, side - 0.14).to_array(),
            seed: hash(seed as u32 ^ hash((seed >> 32) as u32)),
            mesh: TUBE,
        }
    }

    /// Returns the same view for the shaders of the orbs.
    pub fn of_orbs(self) -> Self {
        Self { mesh: ORB, ..self }
    }

    /// Returns the number of vertices of a strip across the mesh, and the number of strips of the
    /// whole mesh.
    pub fn strips(&self) -> [u32; 2] {
        let bodies = if self.mesh == ORB { ORBS } else { 1 };
        [2 * (self.mesh[1] + 1), self.mesh[0] * bodies]
    }
}

/// A point on a surface and its normal.
struct Place {
    at: Vec3,
    normal: Vec3,
}

/// Returns the point of the tube at `s` turns along it and `t` turns around it.
fn tube(s: f32, t: f32) -> Place {
    let ([p, q], [major, minor, thick]) = (WINDINGS, RADII);
    let axis = Vec3::new(cos_turns(p * s), 0.0, sin_turns(p * s));
    let along_axis = Vec3::new(-sin_turns(p * s), 0.0, cos_turns(p * s));
    // Points out of the ring that the tube winds around: perpendicular to the tube, and always
    // defined.
    let out = axis * cos_turns(q * s) + Vec3::Y * sin_turns(q * s);
    let around = Vec3::Y * cos_turns(q * s) - axis * sin_turns(q * s);
    let ahead = along_axis * (p * (major + minor * cos_turns(q * s))) + around * (q * minor);
    let side = ahead.cross(out).normalize();
    let normal = out * cos_turns(t) + side * sin_turns(t);
    Place { at: axis * major + out * minor + normal * thick, normal }
}

/// Returns a random number in 0..1 for orb `orb` of `seed`.
fn chance(seed: u32, orb: u32, which: u32) -> f32 {
    (hash(seed ^ (orb * 8 + which)) >> 8) as f32 / 16_777_216.0
}

/// Returns the center and radius of orb `orb`.
fn orb_place(view: &View, orb: u32) -> (Vec3, f32) {
    let height = (orb as f32 + 0.5) / ORBS as f32 * 2.0 - 1.0;
    let ring = (1.0 - height * height).sqrt();
    // Integer numbers of turns, so that the end of the loop is the beginning.
    let orbits = if chance(view.seed, orb, 0) < 0.6 { -1.0 } else { -2.0 };
    let turn = orb as f32 * 0.381_966 + orbits * view.time;
    let far = 1.62 + 0.75 * chance(view.seed, orb, 1);
    let middle = Vec3::new(ring * cos_turns(turn), height * 0.72, ring * sin_turns(turn)) * far;
    (middle, 0.022 + 0.050 * chance(view.seed, orb, 2) * chance(view.seed, orb, 3))
}

/// Returns a color of a wheel from ice over violet to ember.
fn wheel(turn: f32) -> Vec3 {
    let channel = |shift: f32| 0.5 + 0.5 * cos_turns(turn + shift);
    Vec3::new(channel(0.02), 0.62 * channel(0.42), channel(0.60)) + Vec3::new(0.06, 0.05, 0.10)
}

/// Returns the surroundings of the scene in direction `at`: darkness with two strips of light and
/// one lamp.
fn room(at: Vec3, light: Vec3) -> Vec3 {
    let dim = Vec3::new(0.012, 0.013, 0.020).lerp(Vec3::new(0.060, 0.085, 0.140), smoothstep(-0.4, 0.9, at.y));
    let strip = |height: f32| 1.0 - smoothstep(0.04, 0.10, (at.y - height).abs());
    let lamp = smoothstep(0.80, 0.96, at.dot(light));
    dim + Vec3::new(0.34, 0.44, 0.62) * strip(0.42)
        + Vec3::new(0.30, 0.13, 0.09) * strip(-0.45)
        + Vec3::new(2.2, 1.95, 1.7) * lamp
}

/// Returns the light of metal of color `tint` that reflects the room.
fn metal(normal: Vec3, to_eye: Vec3, light: Vec3, tint: Vec3) -> Vec3 {
    let facing = normal.dot(light).max(0.0);
    let grazing = 1.0 - normal.dot(to_eye).clamp(0.0, 1.0);
    let gloss = tint + (Vec3::ONE - tint) * grazing.powi(5);
    let mirrored = normal * (2.0 * normal.dot(to_eye)) - to_eye;
    let glint = normal.dot((to_eye + light).normalize()).max(0.0).powi(48) * facing;
    room(mirrored, light) * gloss + tint * (0.30 * facing + 3.0 * glint) + tint * 0.012
}

/// Returns the light that the camera sees on the tube. Twin of `knot.frag`.
fn shade_tube(view: &View, s: f32, t: f32) -> [f32; 4] {
    let Place { at, normal } = tube(s, t);
    let to_eye = (Vec3::from_array(view.eye) - at).normalize();
    let lit = metal(normal, to_eye, Vec3::from_array(view.light), Vec3::new(0.17, 0.18, 0.23));
    // Seams wind around the tube; pulses run along them.
    let across = |turns: f32| (turns - (turns + 0.5).floor()).abs();
    let seam = 1.0 - smoothstep(0.040, 0.075, across(3.0 * t + 12.0 * s));
    let pulse = 1.0 - smoothstep(0.0, 0.34, across(3.0 * s - 4.0 * view.time));
    let glow = wheel(s + 0.5 * sin_turns(s)) * (seam * (0.35 + 11.0 * pulse * pulse));
    (lit * (1.0 - seam) + glow).extend(1.0).to_array()
}

/// Returns the light that the camera sees on orb `orb`. Twin of `orb.frag`.
fn shade_orb(view: &View, orb: u32, normal: Vec3, at: Vec3) -> [f32; 4] {
    let to_eye = (Vec3::from_array(view.eye) - at).normalize();
    let color = wheel(chance(view.seed, orb, 4));
    if chance(view.seed, orb, 5) < 0.45 {
        let rim = 0.55 + 0.45 * normal.dot(to_eye).max(0.0);
        return (color * (9.0 * rim)).extend(1.0).to_array();
    }
    let tint = Vec3::new(0.45, 0.45, 0.48).lerp(color, 0.3);
    metal(normal, to_eye, Vec3::from_array(view.light), tint).extend(1.0).to_array()
}

/// Returns the light of a picture of `size` texels, as the four shaders draw it.
pub fn draw(view: &View, size: [u32; 2]) -> Vec<[f32; 4]> {
    let transform = Mat4::from_cols_array(&view.transform);
    let clip = |at: Vec3| (transform * at.extend(1.0)).to_array();
    let [r, g, b] = BACKGROUND;
    let mut target = Target::new(size, [r, g, b, 1.0]);

    let corners: Vec<Vertex<2>> =
        grid(TUBE).map(|[s, t]| Vertex { clip: clip(tube(s, t).at), values: [s, t] }).collect();
    target.draw(&corners, &quads(TUBE), |[s, t]| shade_tube(view, s, t));

    let triangles = quads(ORB);
    for orb in 0..ORBS {
        let (middle, radius) = orb_place(view, orb);
        let corner = |[u, v]: [f32; 2]| {
            let normal = toward(0.5 * v - 0.25, u);
            Vertex { clip: clip(middle + normal * radius), values: normal.to_array() }
        };
        let corners: Vec<Vertex<3>> = grid(ORB).map(corner).collect();
        target.draw(&corners, &triangles, |normal| {
            let normal = Vec3::from_array(normal).normalize();
            shade_orb(view, orb, normal, middle + normal * radius)
        });
    }
    target.color
}

/// Returns the corners of a mesh, with each coordinate from 0 to 1.
fn grid(
    [along, across]: [u32; 2],
) -> rayon::iter::Map<rayon::range::Iter<u32>, impl Fn(u32) -> [f32; 2] + Sync + Send> {
    let place = move |i: u32| [(i / (across + 1)) as f32 / along as f32, (i % (across + 1)) as f32 / across as f32];
    (0..(along + 1) * (across + 1)).into_par_iter().map(place)
}

/// Returns two triangles for each quad.
fn quads([along, across]: [u32; 2]) -> Vec<[u32; 3]> {
    let quad = |i: u32| {
        let a = i / across * (across + 1) + i % across;
        let b = a + across + 1;
        [[a, b, a + 1], [a + 1, b, b + 1]]
    };
    (0..along * across).flat_map(quad).collect()
}
