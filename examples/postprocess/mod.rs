//! The post-processing demo. [`demo`], `compute` and `render` need Vulkan; the rest needs neither
//! Vulkan nor CUDA.
//!
//! One frame: Vulkan draws the [`knot`] into a shared image, kernels or their twin
//! [`bloom::filter`] read it through a texture and write a second shared image, and Vulkan shows
//! that image. [`knot::draw`] repeats the work of the shaders for the self-check in [`check`].

pub mod bloom;
pub mod check;
mod compute;
pub mod demo;
pub mod figures;
pub mod knot;
pub mod options;
mod render;
