//! The description of a shared buffer for another process.

use bridge_ipc::{BufferDescriptor, ResourceKind};

/// Describes a buffer of `len` elements.
pub(crate) fn resource_kind<T>(len: usize) -> ResourceKind {
    let size = len.saturating_mul(size_of::<T>()) as u64;
    let element_size = u32::try_from(size_of::<T>()).unwrap_or(0);
    ResourceKind::Buffer(BufferDescriptor { size, element_size })
}
