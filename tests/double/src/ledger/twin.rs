//! Test kernels that the double executes: the kernels of `shaders/probe.cu` in Rust. Launches of
//! other kernels are checked but have no effect.

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
            ("fault", [_]) => Err(ILLEGAL_ADDRESS.into()),
            _ => Ok(()),
        }
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
