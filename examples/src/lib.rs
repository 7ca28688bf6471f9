//! Code that the examples share, from shaders to output pictures.
//!
//! | module | contents |
//! |---|---|
//! | [`run`] | the frame loop of all programs: frames in flight, files or a window, checks |
//! | [`options`], [`summary`] | command line options, and the summary at the end |
//! | [`shader`], [`kernels`] | SPIR-V of the shaders in `shaders/`; loading CUDA kernels |
//! | [`gpu`] | pipelines, passes, depth, command buffers, outputs of a finished picture |
//! | [`maths`], [`camera`], [`color`], [`raster`] | CPU counterparts of shaders and kernels |
//! | [`picture`] | pictures read from files, within limits, and resampled |
//! | [`files`] | files that are either complete or absent, and the output folder |
//! | [`writer`], [`animation`], [`palette`] | frames to PNG and GIF, beside the frame loop |
//! | [`psnr`] | similarity of two pictures |
//! | [`progress`], [`interrupt`] | a progress bar, and Ctrl-C |
//! | [`console`] | output that survives a closed pipe |
//! | [`particles`] | the particle demo: a buffer, compute first |
//! | [`texture`] | the texture demo: an image, compute first |
//! | [`postprocess`] | the post-processing demo: images in both directions |
//!
//! A demo is the folder `examples/NAME`: `main.rs` is the program, the other files are the module
//! of the same name in this crate.

#![allow(missing_debug_implementations)] // The examples print none of these types.

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
