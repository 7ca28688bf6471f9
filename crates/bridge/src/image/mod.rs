//! Shared images: their specification, the format table, and the shared image.

#[cfg(all(target_os = "linux", feature = "remote"))]
pub(crate) mod descriptor;
pub(crate) mod format;
pub(crate) mod hand_over;
pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
