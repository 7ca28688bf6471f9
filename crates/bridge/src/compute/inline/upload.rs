//! Initial contents of kernel memory, copied by commands of the stream without a host wait.
#![allow(unsafe_code)] // Writes mapped memory, records a copy.

use std::sync::Arc;

use vk_export::ash::vk;
use vk_export::{Buffer, BufferInfo, ExportDevice, Placement};

use crate::compute::inline::InlineCompute;
use crate::compute::inline::copy::BufferCopy;
use crate::compute::inline::segment::{Keep, LossMarker};
use crate::compute::inline::stream::InlineStreamId;
use crate::error::{Error, Result};

/// Usage flags for kernels, and for copies by the program's own commands.
const USAGE: vk::BufferUsageFlags = vk::BufferUsageFlags::from_raw(
    vk::BufferUsageFlags::TRANSFER_SRC.as_raw()
        | vk::BufferUsageFlags::TRANSFER_DST.as_raw()
        | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS.as_raw(),
);

/// A buffer for kernels. Its initial contents are copied before any work that is recorded later.
#[derive(Debug)]
pub(crate) struct Uploaded {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) address: u64,
    /// The stream that the copy is recorded in.
    pub(crate) home: InlineStreamId,
    /// Marker that is set if the copy will never run.
    pub(crate) lost: LossMarker,
}

impl InlineCompute {
    /// Creates a buffer that only the device accesses, with these bytes as contents. The source of
    /// the copy is freed once the copy has run.
    pub(crate) fn upload(&self, device: &ExportDevice, name: &str, bytes: &[u8]) -> Result<Uploaded> {
        let object = || format!("kernel memory \"{name}\"");
        let size = bytes.len() as u64;
        let to = Buffer::new(device, &BufferInfo { name, size, usage: USAGE, placement: Placement::DeviceLocal })?;
        let address =
            to.device_address().ok_or_else(|| Error::invalid(object(), "its device has no buffer addresses"))?;
        let usage = vk::BufferUsageFlags::TRANSFER_SRC;
        let from = Buffer::new(device, &BufferInfo { name, size, usage, placement: Placement::HostVisible })?;
        let start = from
            .host_ptr()
            .ok_or_else(|| Error::invalid(object(), "the driver has not mapped the memory for its contents"))?;
        // SAFETY: the buffer has exactly this many mapped bytes, and nothing else uses it.
        // Submitting the copy makes the bytes visible to the copy (Vulkan specification, "Host
        // Write Ordering Guarantees").
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
        let copy = BufferCopy { from: from.as_raw(), to: to.as_raw(), size };
        let (from, buffer) = (Arc::new(from), Arc::new(to));
        let keep = [from as Keep, Arc::clone(&buffer) as Keep];
        // A handle whose marker is set only if this copy is lost.
        let stream = self.stream().for_exchange();
        // SAFETY: both buffers have `size` bytes and the usages of a copy; the stream keeps them
        // until the copy has run, and nothing else uses them before that.
        unsafe { stream.copy(keep, &[copy]) }?;
        Ok(Uploaded { buffer, address, home: stream.id(), lost: stream.loss_marker().clone() })
    }
}
