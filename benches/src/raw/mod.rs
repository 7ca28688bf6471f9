//! The work of the bridge written by hand with `ash` and the CUDA driver API, which the bridge is
//! compared with.
//!
//! The code is what an expert in both APIs would write: it makes no unnecessary call and creates
//! nothing twice.

pub(crate) mod blits;
pub(crate) mod commands;
pub(crate) mod cuda;
pub(crate) mod drawing;
pub(crate) mod fence;
pub(crate) mod graph;
pub(crate) mod handle;
pub(crate) mod host_memory;
pub(crate) mod image;
pub(crate) mod image_ring;
pub(crate) mod inside;
pub(crate) mod patterns;
pub(crate) mod ring;
pub(crate) mod shared;
pub(crate) mod stamps;
pub(crate) mod timeline;
