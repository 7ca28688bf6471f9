//! The same as the bridge does, written by hand with `ash` and the CUDA driver's own calls: what it
//! is measured against.
//!
//! As good as a programmer would write it who knows both interfaces: no call that is not needed,
//! nothing made twice.

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
