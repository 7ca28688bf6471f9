//! Buffers and images that stay with Vulkan: staging, readback, targets.
//!
//! Each has an allocation of its own, which suits programs that make a few and keep them.

mod buffer;
mod error;
mod image;
mod memory;

pub use buffer::LocalBuffer;
pub use error::{Error, Result};
pub use image::{LocalImage, LocalImageInfo};
pub use memory::MemoryLocation;

// Promised to users; the compiler keeps it.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<LocalBuffer>();
    shared::<LocalImage>();
    shared::<Error>();
};
