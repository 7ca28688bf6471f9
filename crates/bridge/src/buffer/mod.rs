//! Shared buffers: their specification, and the shared buffer.

#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) mod descriptor;
pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
