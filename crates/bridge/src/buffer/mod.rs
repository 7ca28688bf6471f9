//! Buffers that both sides see: the shared buffer, and the pool that many of them lie in.

pub(crate) mod pool;
pub(crate) mod shared;
