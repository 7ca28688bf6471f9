//! CUDA kernels of the examples: how they are loaded, on a stream or in command buffers.

use anyhow::{Context, Result};
use bridge::{Compute, Kernel, LaunchConfig};

/// Loads the kernels `names` from `ptx`, the text of `shaders/FILE`.
///
/// # Errors
/// A driver that does not take the file, or a kernel that is not in it.
pub fn load<const N: usize>(compute: &Compute, file: &str, ptx: &str, names: [&str; N]) -> Result<[Kernel; N]> {
    let module = compute
        .load(file, ptx)
        .with_context(|| format!("the driver does not take the kernels in shaders/{file}; it may be older than 525"))?;
    let kernels: Vec<_> = names.into_iter().map(|name| module.kernel(name)).collect::<Result<_, _>>()?;
    kernels.try_into().map_err(|_| anyhow::anyhow!("not all kernels of shaders/{file} are there"))
}

/// One thread for each texel of an area, in blocks of 32 x 8.
pub fn threads([width, height]: [u32; 2]) -> LaunchConfig {
    LaunchConfig::new([width.div_ceil(32), height.div_ceil(8), 1], [32, 8, 1])
}
