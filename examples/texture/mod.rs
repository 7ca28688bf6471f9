//! The texture demo. [`demo`], `compute` and `render` need Vulkan; the rest needs neither Vulkan
//! nor CUDA.
//!
//! One frame: a kernel or its twin [`Step::grow`](growth::Step::grow) advances a reaction and
//! diffusion, a second one or its twin [`Step::relief`](growth::Step::relief) writes the result to
//! the shared image, and Vulkan wraps it around a ring with the parameters of [`View`](ring::View).
//! [`ring`] repeats the work of the shaders for the self-check in [`check`].

pub mod check;
mod compute;
pub mod demo;
pub mod figures;
pub mod growth;
pub mod options;
mod render;
pub mod ring;
