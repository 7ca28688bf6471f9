//! CUDA kernels of the examples: how they are loaded, on a stream or in command buffers, or as
//! twins on the processor.

use anyhow::{Context, Result};
use bridge::{Compute, KernelModule, LaunchConfig};

/// Loads `ptx`, the text of `shaders/FILE`.
///
/// # Errors
/// A driver that does not take the file.
pub fn load(compute: &Compute, file: &str, ptx: &str) -> Result<KernelModule> {
    compute
        .load(file, ptx)
        .with_context(|| format!("the driver does not take the kernels in shaders/{file}; it may be older than 525"))
}

/// One thread for each texel of an area, in blocks of 32 x 8.
pub fn threads([width, height]: [u32; 2]) -> LaunchConfig {
    LaunchConfig::new([width.div_ceil(32), height.div_ceil(8), 1], [32, 8, 1])
}
