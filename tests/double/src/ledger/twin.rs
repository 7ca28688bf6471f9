//! Kernels that the double executes, in Rust: those of `shaders/probe.cu`, and those of the tests
//! and the example of `bevy-vk-cuda` (`paint` of `engine.cu`, `tiles` and `swarm` of `wgpu.cu`).
//! Launches of other kernels are checked but have no effect.

use crate::abi::{Code, ILLEGAL_ADDRESS, UNKNOWN};
use crate::descriptor;
use crate::finding::Refusal;
use crate::ledger::Ledger;
use crate::ledger::module::Launch;

const WORD: u64 = 4;

impl Ledger {
    /// Runs the twin of the kernel, if it has one.
    pub(crate) fn run_twin(&mut self, launch: &Launch) -> Result<(), Refusal> {
        let words = |len: u32| u64::from(len).min(launch.threads);
        match (launch.kernel.as_str(), launch.args.as_slice()) {
            ("fill_after", [out, len, base, _]) => {
                let (len, base) = (words(word(len)?), word(base)?);
                let mut filled = Vec::with_capacity((len * WORD) as usize);
                (0..len as u32).for_each(|i| filled.extend_from_slice(&base.wrapping_add(i).to_ne_bytes()));
                self.store(address(out)?, &filled)
            }
            ("add", [out, more, len]) => {
                let len = words(word(len)?) * WORD;
                let (to, more) = (address(out)?, self.load(address(more)?, len)?);
                let mut sums = self.load(to, len)?;
                for (sum, more) in sums.as_chunks_mut().0.iter_mut().zip(more.as_chunks().0) {
                    *sum = u32::from_ne_bytes(*sum).wrapping_add(u32::from_ne_bytes(*more)).to_ne_bytes();
                }
                self.store(to, &sums)
            }
            (name, [surface, memory, width, height]) if name.starts_with("store_") || name.starts_with("load_") => {
                let size = (word(width)?.into(), word(height)?.into());
                self.texels(launch, address(surface)?, address(memory)?, size)
            }
            ("paint", [surface, width, height, frame]) => {
                let (size, frame) = ([word(width)?, word(height)?], word(frame)?);
                self.paint(launch, address(surface)?, size, |x, y| color(x, y, frame))
            }
            ("tiles", [surface, side, square, frame]) => {
                let (side, square, frame) = (word(side)?, word(square)?.max(1), word(frame)?);
                self.paint(launch, address(surface)?, [side; 2], |x, y| color(x / square, y / square, frame))
            }
            ("swarm", [points, count, time]) => {
                let (count, time) = (word(count)?, f32::from_bits(word(time)?));
                let moved = (0..words(count) as u32).flat_map(|i| particle(i, count, time)).flat_map(f32::to_ne_bytes);
                self.store(address(points)?, &moved.collect::<Vec<_>>())
            }
            ("fault", [_]) => Err(ILLEGAL_ADDRESS.into()),
            _ => Ok(()),
        }
    }

    /// Stores texels of four bytes in a surface.
    fn paint(
        &mut self,
        launch: &Launch,
        surface: u64,
        [width, height]: [u32; 2],
        texel: impl Fn(u32, u32) -> [u8; 4],
    ) -> Result<(), Refusal> {
        let level = self.surfaces.get(surface)?.level.ok_or(UNKNOWN)?;
        let (array, its) = (self.levels.get(level)?.array, self.levels.get(level)?.level);
        let whole = self.arrays.get(array)?.size(its);
        let (columns, rows) = (u64::from(width).min(launch.threads), u64::from(height).min(launch.rows));
        if columns * 4 > whole.row || rows > whole.rows {
            // Surface accesses out of bounds trap.
            return Err(ILLEGAL_ADDRESS.into());
        }
        (0..rows).try_for_each(|y| {
            let row: Vec<u8> = (0..columns as u32).flat_map(|x| texel(x, y as u32)).collect();
            self.store_row(level, [0, y, 0], &row)
        })
    }

    /// Stores or loads the texels of one layer of a surface.
    fn texels(&mut self, launch: &Launch, surface: u64, memory: u64, size: (u64, u64)) -> Result<(), Refusal> {
        let (name, texel) = launch.kernel.split_once('_').ok_or(UNKNOWN)?;
        let texel: u64 = texel.parse().map_err(|_| UNKNOWN)?;
        let level = self.surfaces.get(surface)?.level.ok_or(UNKNOWN)?;
        let (array, its) = (self.levels.get(level)?.array, self.levels.get(level)?.level);
        let whole = self.arrays.get(array)?.size(its);
        let (row, rows) = (size.0.min(launch.threads) * texel, size.1.min(launch.rows));
        if row > whole.row || rows > whole.rows {
            // Surface accesses out of bounds trap.
            return Err(ILLEGAL_ADDRESS.into());
        }
        (0..rows).try_for_each(|y| {
            let at = memory + y * size.0 * texel;
            match name {
                "store" => self.store_row(level, [0, y, 0], &self.load(at, row)?),
                _ => self.store(at, &self.load_row(level, [0, y, 0], row)?),
            }
        })
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (raw, offset) = self.locate(address, bytes.len() as u64)?;
        descriptor::write(raw, offset, bytes).map_err(|_| UNKNOWN.into())
    }
}

fn address(arg: &[u8]) -> Result<u64, Code> {
    arg.try_into().map(u64::from_ne_bytes).map_err(|_| ILLEGAL_ADDRESS)
}

fn word(arg: &[u8]) -> Result<u32, Code> {
    arg.try_into().map(u32::from_ne_bytes).map_err(|_| ILLEGAL_ADDRESS)
}

fn color(x: u32, y: u32, frame: u32) -> [u8; 4] {
    let [red, green, blue] = [
        (x ^ y).wrapping_add(frame),
        x.wrapping_mul(2).wrapping_add(frame.wrapping_mul(3)),
        y.wrapping_mul(2).wrapping_sub(frame),
    ];
    [red as u8, green as u8, blue as u8, u8::MAX]
}

/// Moves a particle, with the operations of the kernel in the same order.
fn particle(i: u32, count: u32, time: f32) -> [f32; 4] {
    let distance = ((i as f32 + 0.5) / count as f32).sqrt();
    let random = (i.wrapping_mul(2_654_435_769) >> 8) as f32 / 8_388_608.0 - 1.0;
    let arm = (i % 3) as f32 / 3.0 + random * random * random * (0.6 - 0.4 * distance);
    let turns = arm + time / (6.0 + 30.0 * distance) - distance * 0.9;
    let wave = 1.0 + 0.06 * sin_turns(3.0 * turns + time);
    let radius = (distance * distance * 0.6 + distance * 0.4) * wave * 0.9;
    let light = 0.35 + 0.65 * (i.wrapping_mul(747_796_405) >> 24) as f32 / 255.0;
    [radius * sin_turns(turns + 0.25), radius * sin_turns(turns), distance, light]
}

/// Returns the sine of an angle in turns, with the operations of `shaders/maths.cuh` in the same
/// order.
fn sin_turns(x: f32) -> f32 {
    let mut r = x - (x + 0.5).floor();
    if r > 0.25 {
        r = 0.5 - r;
    }
    if r < -0.25 {
        r = -0.5 - r;
    }
    let q = r * r;
    r * (6.283_185_5 + q * (-41.341_7 + q * (81.605_25 + q * (-76.705_86 + q * 42.058_7))))
}
