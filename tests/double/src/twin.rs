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
                let filled = (0..len as u32).flat_map(|i| base.wrapping_add(i).to_ne_bytes());
                self.store(address(out)?, &filled.collect::<Vec<_>>())
            }
            ("add", [out, more, len]) => {
                let len = words(word(len)?) * WORD;
                let (to, more) = (address(out)?, self.load(address(more)?, len)?);
                let pairs = self.load(to, len)?.into_iter().zip(more).collect::<Vec<_>>();
                let (sums, _) = pairs.as_chunks::<4>();
                let sum = |four: &[(u8, u8); 4]| {
                    let [a, b] = [four.map(|pair| pair.0), four.map(|pair| pair.1)].map(u32::from_ne_bytes);
                    a.wrapping_add(b).to_ne_bytes()
                };
                self.store(to, &sums.iter().flat_map(sum).collect::<Vec<_>>())
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
