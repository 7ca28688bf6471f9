//! Shared buffers: their specification, and the shared buffer.

pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
