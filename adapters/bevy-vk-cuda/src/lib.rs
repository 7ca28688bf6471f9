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

/// Checks that all public types are [`Send`] and [`Sync`], as Bevy requires of resources and
/// components, except the frames that a closure computes, which are only [`Send`]. Functions that
/// only one thread may call at a time take `&mut self`.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Cuda>();
    shared::<Way>();
    shared::<CudaPlugin>();
    shared::<CudaSystems>();
    shared::<CudaBuffer<f32>>();
    shared::<CudaImage<[u8; 4]>>();
    shared::<CudaWriter<bridge::BufferSpec<f32>>>();
    shared::<CudaWriter<bridge::ImageSpec<[u8; 4]>>>();
    sent::<Frame<'_, bridge::BufferSpec<f32>>>();
    sent::<CpuFrame<'_, bridge::ImageSpec<[u8; 4]>>>();
    shared::<Rows<'_, [u8; 4]>>();
    shared::<Error>();
};

/// The guide's code examples, to compile them.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding/bevy.md")]
struct Guide;
