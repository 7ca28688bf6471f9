//! A scene that Vulkan draws, CUDA filters, and Vulkan shows: shared images in both directions.
//! `--help` says the rest.
//!
//! | file | does |
//! |---|---|
//! | `demo.rs` | sets both sides up and makes one frame: draw, submit, filter, finish, show, submit |
//! | `compute.rs` | the kernels, which read through a texture and write through a surface, or their twins |
//! | `render.rs` | the passes |
//!
//! Frames to files, frames to a window, and the checks are `bridge_examples::run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::postprocess::demo::Postprocess>()
}
