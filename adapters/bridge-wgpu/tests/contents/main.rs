//! Devices, and resources that are shared on them. The tests are one program, because each program
//! links wgpu, and run in parallel.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod buffers;
mod devices;
mod kernels;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
mod textures;
mod twins;
