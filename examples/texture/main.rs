//! A pattern that CUDA grows in an image and Vulkan samples: shared images, compute first. `--help`
//! says the rest.
//!
//! | file | does |
//! |---|---|
//! | `demo.rs` | sets both sides up and makes one frame: begin, compute, finish, record, submit |
//! | `compute.rs` | the kernels, which write through a surface, or their twins on the processor |
//! | `render.rs` | the passes, which read through a sampler |
//!
//! Frames to files, frames to a window, and the checks are `bridge_examples::run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_examples::run::main::<bridge_examples::texture::demo::Texture>()
}
