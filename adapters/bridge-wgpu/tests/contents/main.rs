//! Devices, and what is shared on them. One program, since each links wgpu; its tests run beside
//! each other.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod buffers;
mod devices;
mod kernels;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod textures;
