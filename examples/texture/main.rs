//! A pattern that CUDA grows in an image and Vulkan samples: shared images, compute first. See
//! `--help` for the options.
//!
//! | file | contents |
//! |---|---|
//! | `demo.rs` | sets up both sides and runs one frame: begin, compute, finish, record, submit |
//! | `compute.rs` | the kernels, which write through a surface, or their twins on the CPU |
//! | `render.rs` | the passes, which read through a sampler |
//!
//! `bridge_examples::run` contains the output to files and to a window, and the checks.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::texture::demo::Texture>()
}
