#![doc = include_str!("../README.md")]

mod buffer;
mod content;
mod cuda;
mod error;
mod fault;
mod format;
mod image;
mod plugin;
mod present;
mod ring;
mod upload;
mod vulkan;
mod writer;

pub use bridge;
pub use bridge::Work;

pub use buffer::CudaBuffer;
pub use content::{Content, Rows};
pub use cuda::{Cuda, Way};
pub use error::{Error, Result};
pub use image::CudaImage;
pub use plugin::{CudaPlugin, CudaSystems};
pub use writer::{CpuFrame, CudaWriter, Frame};

/// The guide's code examples, to compile them.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/bevy.md")]
struct Guide;
