//! Particles that CUDA moves and Vulkan draws, in one buffer: the bridge from end to end. `--help` says the rest.
//!
//! | file | does |
//! |---|---|
//! | `demo.rs` | sets both sides up and makes one frame: begin, compute, finish, record, submit |
//! | `particles/compute.rs` of the library | the kernel launch, or its twin on the processor |
//! | `particles/render.rs`, `particles/glow.rs` of the library | the passes |
//!
//! Frames to files, frames to a window, and the checks are `bridge_examples::run`.

mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<demo::Particles>()
}
