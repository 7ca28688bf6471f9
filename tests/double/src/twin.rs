//! Kernels of the tests that the double runs: what `shaders/probe.cu` says, in Rust. Others are
//! checked and do nothing.

use crate::abi::{Code, ILLEGAL_ADDRESS, UNKNOWN};
use crate::descriptor;
use crate::finding::Refusal;
use crate::ledger::Ledger;
use crate::module::Launch;

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
            ("fault", [_]) => Err(ILLEGAL_ADDRESS.into()),
            _ => Ok(()),
        }
    }

    fn store(&mut self, address: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (raw, offset) = self.place(address, bytes.len() as u64)?;
        descriptor::write(raw, offset, bytes).map_err(|_| UNKNOWN.into())
    }
}

fn address(arg: &[u8]) -> Result<u64, Code> {
    arg.try_into().map(u64::from_ne_bytes).map_err(|_| ILLEGAL_ADDRESS)
}

fn word(arg: &[u8]) -> Result<u32, Code> {
    arg.try_into().map(u32::from_ne_bytes).map_err(|_| ILLEGAL_ADDRESS)
}
