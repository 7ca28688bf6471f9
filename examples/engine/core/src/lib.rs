//! A small engine on raw Vulkan, with its own instance, device, memory, frames in flight, queue
//! lock, job thread and target.
//!
//! This crate does not depend on the bridge. The parts that use the bridge are added as
//! [`System`]s, which pass semaphores, commands and images to the engine as any other part of an
//! engine does.
//!
//! | module | contents |
//! |---|---|
//! | [`gpu`] | instance, device, the validation layer's messages |
//! | [`queue`] | the queue, and the engine's lock around it |
//! | [`memory`] | buffers and images from the engine's allocator |
//! | [`pass`] | the two passes of a frame |
//! | [`pipeline`] | graphics pipelines |
//! | [`recorder`] | the recorder that systems use |
//! | [`system`] | the interface of a system |
//! | [`frame`] | the objects of a frame in flight |
//! | [`job`] | the thread that records the scene |
//! | [`window`] | a window's images |
//! | [`engine`] | the engine and its frame loop |
//!
//! A frame has two submissions: the scene, and the picture that is composed from it. A system may
//! add GPU work between the two, such as a filter.

#![allow(missing_debug_implementations)] // An example that prints none of these types.

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
