//! The post-processing demo. [`demo`], `compute` and `render` need Vulkan; the rest needs neither
//! Vulkan nor CUDA.
//!
//! One frame: Vulkan draws the [`knot`] into a shared image, kernels or their twin
//! [`bloom::filter`] read it through a texture and write another shared image, and Vulkan shows
//! that. [`knot::draw`] does the shaders' work a second time for the self-check in [`check`].

pub mod bloom;
pub mod check;
mod compute;
pub mod demo;
pub mod figures;
pub mod knot;
pub mod options;
mod render;
