//! What a worker that computes with CUDA is given of a resource.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bridge_ipc::{Handle, Resource, ResourceKind};
use vk_export::{Buffer, Image, MemoryDescriptor, MemoryHandle, Uuid};

use crate::error::{Error, Result};

/// The memory of a resource as it leaves this process, with what an importer must repeat.
#[derive(Debug)]
pub(crate) struct Exported {
    handle: OwnedFd,
    dedicated: bool,
    device_uuid: Uuid,
    allocation_size: u64,
    offset: u64,
}

impl Exported {
    pub(crate) fn buffer(buffer: &Buffer) -> Result<Self> {
        let exported = buffer.export()?;
        Self::new(exported.handle, &exported.descriptor)
    }

    pub(crate) fn image(image: &Image) -> Result<Self> {
        let exported = image.export()?;
        Self::new(exported.handle, &exported.descriptor.memory)
    }

    fn new(handle: MemoryHandle, memory: &MemoryDescriptor) -> Result<Self> {
        let MemoryHandle::Fd(handle) = handle else {
            return Err(Error::InvalidArgument {
                object: memory.name.clone(),
                reason: format!("a worker is sent file descriptors, and its memory has {handle:?}"),
            });
        };
        Ok(Self {
            handle,
            dedicated: memory.dedicated,
            device_uuid: memory.device_uuid,
            allocation_size: memory.allocation_size,
            offset: memory.offset,
        })
    }

    /// What the worker is told of it.
    pub(super) fn resource(&self, exchange: u32, slot: u32, index: u32, kind: ResourceKind) -> Resource {
        Resource {
            exchange,
            slot,
            index,
            kind,
            handle: Handle::OpaqueFd,
            dedicated: self.dedicated,
            device_uuid: self.device_uuid,
            allocation_size: self.allocation_size,
            offset: self.offset,
        }
    }
}

impl AsFd for Exported {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}
