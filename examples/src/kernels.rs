//! Loading of the examples' CUDA kernels, for streams, for command buffers, or as twins on the CPU.

use anyhow::{Context, Result};
use bridge::{Compute, KernelModule, LaunchConfig};

/// Loads `ptx`, the text of `shaders/FILE`.
///
/// # Errors
/// The driver does not accept the file.
pub fn load(compute: &Compute, file: &str, ptx: &str) -> Result<KernelModule> {
    compute
        .load(file, ptx)
        .with_context(|| format!("the driver does not take the kernels in shaders/{file}; it may be older than 525"))
}

/// Returns a launch of one thread per texel of an area, in blocks of 32 x 8.
pub fn threads([width, height]: [u32; 2]) -> LaunchConfig {
    LaunchConfig::new([width.div_ceil(32), height.div_ceil(8), 1], [32, 8, 1])
}
