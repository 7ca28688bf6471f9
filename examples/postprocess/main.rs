//! A scene that Vulkan draws, CUDA filters, and Vulkan shows: shared images in both directions. See
//! `--help` for the options.
//!
//! | file | contents |
//! |---|---|
//! | `demo.rs` | sets up both sides, runs one frame: draw, submit, filter, finish, show, submit |
//! | `compute.rs` | the kernels, which read a texture and write a surface, or their twins |
//! | `render.rs` | the passes |
//!
//! `bridge_examples::run` contains the output to files and to a window, and the checks.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::postprocess::demo::Postprocess>()
}
