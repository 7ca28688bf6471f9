//! Particles that CUDA moves and Vulkan draws, in one buffer: the bridge from end to end. `--help`
//! says the rest.
//!
//! | file | does |
//! |---|---|
//! | `demo.rs` | sets both sides up and makes one frame: begin, compute, finish, record, submit |
//! | `compute.rs` | the kernel launch, or its twin on the processor |
//! | `render.rs`, `glow.rs` | the passes |
//!
//! Frames to files, frames to a window, and the checks are `bridge_examples::run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::particles::demo::Particles>()
}
