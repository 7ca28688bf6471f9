//! A small engine on raw Vulkan: its own instance, device, memory, frames in flight, queue lock,
//! job thread and target.
//!
//! It knows nothing of the bridge: this crate does not depend on it. What the bridge brings is
//! added as [`System`]s, which hand the engine semaphores, commands and images as any other part of
//! an engine does.
//!
//! | module | gives |
//! |---|---|
//! | [`gpu`] | instance, device, the validation layer's messages |
//! | [`queue`] | the one queue and the engine's lock around it |
//! | [`memory`] | buffers and images from the engine's allocator |
//! | [`pass`] | the two passes of a frame |
//! | [`pipeline`] | graphics pipelines |
//! | [`recorder`] | what a system records with |
//! | [`system`] | what a system is |
//! | [`frame`] | what belongs to a frame in flight |
//! | [`job`] | the thread that records |
//! | [`window`] | a window's images |
//! | [`engine`] | the frames |
//!
//! A frame is two submissions: the scene, and the picture that is composed of it. What lies between
//! them on the GPU, such as a filter, is a system's.

#![allow(missing_debug_implementations)] // An example, which prints none of it.

pub mod engine;
pub mod frame;
pub mod gpu;
pub mod job;
pub mod memory;
pub mod pass;
pub mod pipeline;
pub mod queue;
pub mod recorder;
mod scene;
mod submission;
pub mod system;
#[cfg(all(test, target_os = "linux"))]
mod tests;
pub mod window;

pub use engine::{Captured, Engine, Outcome};
pub use gpu::{Gpu, GpuInfo};
pub use pass::Pass;
pub use system::System;
