//! Kernels of the program's own, launched on every compute side that runs CUDA code in the same
//! way.

pub(crate) mod args;
pub(crate) mod buffer;
pub(crate) mod host_arg;
pub(crate) mod image;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod site;
pub(crate) mod twin;
pub(crate) mod work;
