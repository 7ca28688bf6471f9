//! The texture demo. [`demo`], `compute` and `render` need Vulkan; the rest needs neither Vulkan
//! nor CUDA.
//!
//! One frame: a kernel or its twin [`Step::grow`](growth::Step::grow) moves a reaction and
//! diffusion on, a second one or its twin [`Step::relief`](growth::Step::relief) writes what has
//! grown to the shared image, and Vulkan wraps it round a ring as [`View`](ring::View) says.
//! [`ring`] does the shaders' work a second time for the self-check in [`check`].

pub mod check;
mod compute;
pub mod demo;
pub mod figures;
pub mod growth;
pub mod options;
mod render;
pub mod ring;
