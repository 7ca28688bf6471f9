//! CUDA kernels recorded into Vulkan command buffers: `VK_NVX_binary_import` and
//! `VK_NVX_image_view_handle`.
//!
//! [`ptx`] reads a module's text, [`module`] loads it and finds its kernels, [`launch`] says what a
//! launch may be, and [`surface`] and [`texture`] give kernels a shared image. [`calls`] are the
//! extensions' functions.
//!
//! The driver checks next to nothing of a launch: it hangs, loses the device or leaves the kernel
//! out. Every such launch that is known is refused here before the driver sees it, in [`ptx`] and
//! [`launch`].

pub(crate) mod calls;
pub(crate) mod launch;
pub(crate) mod module;
pub(crate) mod ptx;
pub(crate) mod surface;
pub(crate) mod texture;
