//! Kernels over large amounts of memory: random contents, which do not compress, and reads of them.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::c_void;

use anyhow::Result;
use bridge::CudaCompute;
use bridge::cuda_import::cudarc::driver::sys::{self, CUdeviceptr};

use super::cuda::{Kernel, Module};

/// Number of threads in a block.
pub(crate) const BLOCK: u32 = 256;
/// Size in bytes of a vector, which a thread reads at once.
pub(crate) const VECTOR: u64 = 16;
/// Bytes that eight threads read at one place.
const LINE: u64 = 128;

/// Returns the number of blocks that keep the whole device busy.
pub(crate) fn full_blocks(cuda: &CudaCompute) -> Result<u32> {
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    // Eight blocks fill a multiprocessor.
    Ok(u32::try_from(cuda.device().context().attribute(attribute)?)? * 8)
}

/// The kernel that fills memory with random words.
pub(crate) struct Scramble {
    kernel: Kernel,
    blocks: u32,
}

impl Scramble {
    pub(crate) fn new(cuda: &CudaCompute, module: &Module) -> Result<Self> {
        Ok(Self { kernel: module.kernel(c"scramble")?, blocks: full_blocks(cuda)? })
    }

    /// Fills `size` bytes; different seeds give different words.
    ///
    /// # Safety
    /// `to` points to `size` bytes, aligned to words, which live until the stream is done; the
    /// module stays loaded.
    pub(crate) unsafe fn launch(&self, stream: sys::CUstream, mut to: CUdeviceptr, size: u64, seed: u64) -> Result<()> {
        // Keeps the counters of different seeds apart.
        let (mut words, mut seed) = (size / 4, seed << 40);
        let arguments: [*mut c_void; 3] = [(&raw mut to).cast(), (&raw mut words).cast(), (&raw mut seed).cast()];
        // SAFETY: the kernel's three parameters, of these types; it writes `words` words.
        unsafe { self.kernel.launch(stream, self.blocks, BLOCK, arguments) }
    }
}

/// The order in which memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Sequentially.
    Through,
    /// 128 bytes at a time, at random places.
    Scattered,
}

/// The kernels that read buffers of one size.
pub(crate) struct Reads {
    through: Kernel,
    scattered: Kernel,
    blocks: u32,
    /// Binary logarithm of the number of vectors in a buffer.
    shift: u32,
}

impl Reads {
    /// Creates the kernels for buffers of `size` bytes, a power of two.
    pub(crate) fn new(cuda: &CudaCompute, module: &Module, size: u64) -> Result<Self> {
        anyhow::ensure!(size.is_power_of_two() && size >= LINE, "{size} bytes are no power of two");
        Ok(Self {
            through: module.kernel(c"read_all")?,
            scattered: module.kernel(c"read_scattered")?,
            blocks: full_blocks(cuda)?,
            shift: (size / VECTOR).ilog2(),
        })
    }

    /// Reads about as many bytes as all buffers hold; returns the exact number.
    ///
    /// # Safety
    /// `table` points to the addresses of `count` buffers of this size; they, `out`, which points
    /// to one word, and the module live until the stream is done.
    pub(crate) unsafe fn launch(
        &self,
        stream: sys::CUstream,
        pattern: Pattern,
        mut table: CUdeviceptr,
        mut count: u32,
        mut out: CUdeviceptr,
    ) -> Result<u64> {
        let size = u64::from(count) * (VECTOR << self.shift);
        let mut shift = self.shift;
        match pattern {
            Pattern::Through => {
                let arguments: [*mut c_void; 4] =
                    [(&raw mut table).cast(), (&raw mut count).cast(), (&raw mut shift).cast(), (&raw mut out).cast()];
                // SAFETY: the kernel's four parameters, of these types; it reads the buffers that
                // the caller guarantees.
                unsafe { self.through.launch(stream, self.blocks, BLOCK, arguments) }?;
                Ok(size)
            }
            Pattern::Scattered => {
                let groups = u64::from(self.blocks) * u64::from(BLOCK) * VECTOR / LINE;
                let mut reads = u32::try_from((size / LINE / groups).max(1))?;
                let read = groups * u64::from(reads) * LINE;
                let arguments: [*mut c_void; 5] = [
                    (&raw mut table).cast(),
                    (&raw mut count).cast(),
                    (&raw mut shift).cast(),
                    (&raw mut reads).cast(),
                    (&raw mut out).cast(),
                ];
                // SAFETY: the kernel's five parameters, of these types; it reads within the
                // buffers.
                unsafe { self.scattered.launch(stream, self.blocks, BLOCK, arguments) }?;
                Ok(read)
            }
        }
    }
}
