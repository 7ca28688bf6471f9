//! Exported memory of a resource, for a worker that computes with CUDA.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bridge_ipc::{Handle, Resource, ResourceKind};
use vk_export::{Buffer, Image, MemoryDescriptor, MemoryHandle, Uuid};

use crate::error::{Error, Result};

/// Exported memory of a resource, with the parameters that an importer must repeat.
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
            return Err(Error::invalid(
                memory.name.clone(),
                format!("a worker receives file descriptors, but its memory was exported as {handle:?}"),
            ));
        };
        Ok(Self {
            handle,
            dedicated: memory.dedicated,
            device_uuid: memory.device_uuid,
            allocation_size: memory.allocation_size,
            offset: memory.offset,
        })
    }

    /// Returns the message that describes the memory to the worker.
    pub(crate) fn resource(&self, exchange: u32, slot: u32, index: u32, kind: ResourceKind) -> Resource {
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

#[cfg(test)]
mod tests {
    use bridge_ipc::{BufferDescriptor, Message};

    use super::*;

    fn exported() -> Exported {
        let memory = rustix::fs::memfd_create("slot", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let device_uuid = Uuid::from_u128(7);
        Exported { handle: memory, dedicated: true, device_uuid, allocation_size: 1 << 16, offset: 256 }
    }

    #[test]
    fn exported_resource_is_decoded_by_the_worker() {
        let kind = ResourceKind::Buffer(BufferDescriptor { size: 4096, element_size: 16 });
        let resource = exported().resource(0, 3, 1, kind);
        let read = Message::decode(&Message::Resource(resource).encode().unwrap()).unwrap();
        let Message::Resource(read) = read else { panic!("{read:?}") };
        assert_eq!((read.slot, read.index, read.kind, read.handle), (3, 1, kind, Handle::OpaqueFd));
        assert_eq!((read.dedicated, read.device_uuid), (true, Uuid::from_u128(7)));
        assert_eq!((read.allocation_size, read.offset), (1 << 16, 256));
    }

    /// A resource that is not inside its allocation cannot be encoded.
    #[test]
    fn resource_outside_its_allocation_is_not_encoded() {
        let kind = ResourceKind::Buffer(BufferDescriptor { size: 1 << 16, element_size: 16 });
        let error = Message::Resource(exported().resource(0, 0, 0, kind)).encode().unwrap_err();
        assert!(error.to_string().contains("does not lie inside its allocation"), "{error}");
    }
}
