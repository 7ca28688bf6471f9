//! Shared buffers: their specification, the shared buffer, and the pool that buffers can be
//! allocated from.

pub(crate) mod pool;
pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
