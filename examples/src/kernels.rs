//! CUDA kernels of the examples: how they are loaded, and how plain data becomes their argument.
#![allow(unsafe_code)] // What a kernel's argument may be.

use anyhow::{Context, Result};
use bridge::CudaCompute;
use bridge::cuda_import::cudarc::driver::{CudaFunction, DeviceRepr, LaunchConfig};
use bridge::cuda_import::cudarc::nvrtc::Ptx;
use bytemuck::Pod;

/// Plain data as a kernel's by-value argument.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Argument<T>(pub T);

// SAFETY: a kernel's argument is copied byte for byte, and any bytes are a `Pod`.
unsafe impl<T: Pod> DeviceRepr for Argument<T> {}

/// Loads the kernels `names` from `ptx`, the text of `shaders/FILE`.
///
/// # Errors
/// A driver that does not take the file, or a kernel that is not in it.
pub fn load<const N: usize>(cuda: &CudaCompute, file: &str, ptx: &str, names: [&str; N]) -> Result<[CudaFunction; N]> {
    let module = cuda.stream().context().load_module(Ptx::from_src(ptx)).with_context(|| {
        format!("the CUDA driver does not take the kernels in shaders/{file}; it may be older than 525")
    })?;
    let load = |name| module.load_function(name).with_context(|| format!("no kernel \"{name}\" in shaders/{file}"));
    let kernels: Vec<_> = names.into_iter().map(load).collect::<Result<_>>()?;
    kernels.try_into().map_err(|_| anyhow::anyhow!("not all kernels of shaders/{file} are there"))
}

/// One thread for each texel of an area, in blocks of 32 x 8.
pub fn threads([width, height]: [u32; 2]) -> LaunchConfig {
    LaunchConfig { grid_dim: (width.div_ceil(32), height.div_ceil(8), 1), block_dim: (32, 8, 1), shared_mem_bytes: 0 }
}
