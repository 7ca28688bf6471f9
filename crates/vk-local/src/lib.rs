//! Buffers and images that only Vulkan uses: staging, readback, render targets.
//!
//! Each has its own allocation, which suits programs that create a few and keep them.

mod buffer;
mod error;
mod image;
mod memory;

pub use buffer::LocalBuffer;
pub use error::{Error, Result};
pub use image::{LocalImage, LocalImageInfo};
pub use memory::MemoryLocation;

// Checks at compile time that the types can be used from any thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<LocalBuffer>();
    shared::<LocalImage>();
    shared::<LocalImageInfo<'_>>();
    shared::<MemoryLocation>();
    shared::<Error>();
};
