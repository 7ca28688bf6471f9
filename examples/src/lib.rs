//! What the examples share, from the shaders to the pictures that they leave.
//!
//! | module | gives |
//! |---|---|
//! | [`run`] | what every program does: options to exit status, frames in flight, files or a window, checks |
//! | [`options`], [`summary`] | what every program can be asked for, and what it tells in the end |
//! | [`shader`], [`kernels`] | SPIR-V of everything in `shaders/`, compiled by the build script; loading CUDA kernels |
//! | [`gpu`] | pipelines, passes, depth, command buffers, a finished picture's ways out |
//! | [`maths`], [`camera`], [`color`], [`raster`] | what the CPU repeats of shaders and kernels |
//! | [`picture`] | pictures read from files, within limits, and resampled |
//! | [`files`] | files that are whole or not there, and an output folder |
//! | [`writer`], [`animation`], [`palette`] | frames to PNG and GIF, beside the frame loop |
//! | [`psnr`] | how alike two pictures are |
//! | [`progress`], [`interrupt`] | a bar, and Ctrl-C |
//! | [`console`] | output that survives a closed pipe |
//! | [`particles`] | the particle demo: a buffer, compute first |
//! | [`texture`] | the texture demo: an image, compute first |
//! | [`postprocess`] | the post-processing demo: images in both directions |
//!
//! A demo is the folder `examples/NAME`: `main.rs` is the program, the rest is the module here that
//! bears its name.

#![allow(missing_debug_implementations)] // A part of the examples, which print none of it.

pub mod animation;
pub mod camera;
pub mod color;
pub mod console;
pub mod files;
pub mod gpu;
pub mod interrupt;
pub mod kernels;
pub mod maths;
pub mod options;
pub mod palette;
#[path = "../particles/mod.rs"]
pub mod particles;
pub mod picture;
#[path = "../postprocess/mod.rs"]
pub mod postprocess;
pub mod progress;
pub mod psnr;
pub mod raster;
pub mod resample;
pub mod run;
pub mod shader;
pub mod summary;
#[path = "../texture/mod.rs"]
pub mod texture;
pub mod writer;
