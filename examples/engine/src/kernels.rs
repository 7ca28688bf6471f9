//! The kernels of all systems.

/// The PTX of the kernels in `shaders/engine.cu`.
pub(crate) const KERNELS: &str = include_str!("../../../shaders/engine.ptx");
