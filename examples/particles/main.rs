//! Particles that CUDA moves and Vulkan draws in one buffer: a complete example of the bridge. See
//! `--help` for the options.
//!
//! | file | contents |
//! |---|---|
//! | `demo.rs` | sets up both sides and runs one frame: begin, compute, finish, record, submit |
//! | `compute.rs` | the kernel launch, or its twin on the CPU |
//! | `render.rs`, `glow.rs` | the passes |
//!
//! `bridge_examples::run` contains the output to files and to a window, and the checks.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::particles::demo::Particles>()
}
