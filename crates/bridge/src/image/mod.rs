//! Shared images: their specification, the format table, the shared image, its host views, and
//! staging buffers.

pub(crate) mod format;
pub(crate) mod hand_over;
pub(crate) mod host;
pub(crate) mod render;
pub(crate) mod shared;
pub(crate) mod spec;
pub(crate) mod staging;
