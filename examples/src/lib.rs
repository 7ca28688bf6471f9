//! What the examples share, from the shaders to the pictures that they leave.
//!
//! | module | gives |
//! |---|---|
//! | [`shader`] | SPIR-V of everything in `shaders/`, compiled by the build script |
//! | [`gpu`] | pipelines, passes, command buffers, a swapchain |
//! | [`picture`] | pictures read from files, within limits, and resampled |
//! | [`files`] | files that are whole or not there, and an output folder |
//! | [`writer`], [`animation`], [`palette`] | frames to PNG and GIF, beside the frame loop |
//! | [`psnr`] | how alike two pictures are |
//! | [`progress`], [`interrupt`] | a bar, and Ctrl-C |
//! | [`doctor`] | what this machine can do, and what to do about the rest |
//! | [`particles`] | the particle demo: scenes, maths, reference rasteriser, checks |
//!
//! The programs themselves are in `examples/NAME/main.rs`.

pub mod animation;
pub mod doctor;
pub mod files;
pub mod gpu;
pub mod interrupt;
pub mod palette;
pub mod particles;
pub mod picture;
pub mod progress;
pub mod psnr;
pub mod shader;
pub mod writer;
