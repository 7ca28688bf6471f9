//! CUDA kernels recorded into Vulkan command buffers: `VK_NVX_binary_import` and
//! `VK_NVX_image_view_handle`.
//!
//! [`ptx`] reads a module's text, [`module`] loads it and finds its kernels, [`launch`] defines the
//! limits of a launch, and [`surface`] and [`texture`] give kernels access to a shared image.
//! [`calls`] contains the extensions' functions.
//!
//! The driver validates almost nothing of a launch: an invalid one hangs, loses the device or is
//! silently skipped. [`ptx`] and [`launch`] reject every such launch that is known before it
//! reaches the driver.

pub(crate) mod launch;
pub(crate) mod module;
pub(crate) mod ptx;
pub(crate) mod surface;
pub(crate) mod texture;
