//! Checks of the picture, texture and particles that were read back.

use anyhow::{Context, Result, bail, ensure};
use bevy::prelude::*;

use crate::cube::{self, Painting, SQUARES};
use crate::scene::{SIZE, Seen, cube_place};
use crate::swarm::{self, Particle, Swarm};

/// Checks that the texture and the particles are those of the last frames, bit for bit.
pub(crate) fn whole(world: &mut World) -> Result<()> {
    let painting = world.query::<&Painting>().single(world)?;
    let (frame, side) = (painting.frames, painting.side);
    let expected = swarm::expected(world.query::<&Swarm>().single(world)?);
    ensure!(frame > 0, "nothing was painted");
    let seen = world.resource::<Seen>();
    let square = side / SQUARES;
    let row_size = 4 * side as usize;
    ensure!(seen.texture.len() == row_size * side as usize, "the texture was not read back");
    // All rows of a square are the same.
    let mut bands = seen.texture.chunks_exact(row_size * square as usize).zip(0..);
    let right = bands.all(|(band, y)| {
        let row: Vec<u8> = (0..side).flat_map(|x| cube::texel(x / square, y, frame)).collect();
        band.chunks_exact(row_size).all(|seen| seen == row)
    });
    ensure!(right, "the texture is not that of frame {frame}");
    let particles: Vec<Particle> = bytemuck::pod_collect_to_vec(&seen.particles);
    if let Some(wrong) = expected.zip(&particles).position(|(expected, seen)| expected != *seen) {
        bail!("particle {wrong} is wrong");
    }
    ensure!(!particles.is_empty(), "nothing was read back");
    Ok(())
}

/// Returns a texel of the picture, by column and row.
fn pixel(picture: &[u8], [x, y]: [u32; 2]) -> Option<&[u8]> {
    picture.chunks_exact(4).nth((y * SIZE[0] + x) as usize).map(|texel| &texel[..3])
}

/// Checks that the front of the cube in the picture shows its texture: the middle of each square
/// has its color.
pub(crate) fn cube(world: &mut World) -> Result<()> {
    let frame = world.query::<&Painting>().single(world)?.frames;
    let (camera, place) = world.query::<(&Camera, &GlobalTransform)>().single(world)?;
    let picture = &world.resource::<Seen>().picture;
    let mut right = 0;
    for at in 0..SQUARES * SQUARES {
        let [x, y] = [at % SQUARES, at / SQUARES];
        let [u, v] = [x, y].map(|at| (at as f32 + 0.5) / SQUARES as f32 * 2.0 - 1.0);
        let seen = camera.world_to_viewport(place, cube_place().transform_point(Vec3::new(u, v, 1.0)))?;
        let expected = &cube::texel(x, y, frame)[..3];
        let seen = pixel(picture, [seen.x as u32, seen.y as u32]).context("the cube is outside of the picture")?;
        right += u32::from(seen.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
    // Particles may be in front of the cube.
    let all = SQUARES * SQUARES;
    ensure!(right > all * 95 / 100, "{right} of {all} squares of the cube are right");
    Ok(())
}

/// Checks that the picture is lit where the particles are, and dark in the corners.
pub(crate) fn lights(world: &World) -> Result<()> {
    let picture = &world.resource::<Seen>().picture;
    let lit = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
        let all = x.len() * y.len();
        let lit = y.flat_map(|y| x.clone().map(move |x| [x, y])).filter(|at| pixel(picture, *at) != Some(&[0; 3]));
        lit.count() * 100 / all
    };
    let (particles, corner) = (lit(600..820, 200..340), lit(0..60, 0..60));
    ensure!(particles > 30 && corner == 0, "{particles}% lit where the particles are, {corner}% in the corner");
    Ok(())
}
