//! Buffers that both sides see: their specification, the shared buffer, and the pool that many of
//! them lie in.

pub(crate) mod pool;
pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
