//! [`ReadBack`], which copies a picture to host memory.

// Vulkan calls, and mapped memory.
#![allow(unsafe_code)]

use std::mem::forget;
use std::time::Duration;

use bridge::ExportDevice;
use bridge::ash::vk;
use bridge::vk_export::{self, BlockingCommands};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Error, Result};

/// Host memory for a picture, and the commands that copy the picture there. Nothing is in use by
/// the device between two copies.
pub(super) struct ReadBack {
    commands: BlockingCommands,
    target: LocalBuffer,
}

impl ReadBack {
    /// Creates memory for a picture of `size` bytes.
    pub(super) fn new(device: &ExportDevice, size: u64) -> Result<Self> {
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let target = LocalBuffer::new(device, "pixels", size, usage, MemoryLocation::GpuToCpu)?;
        // SAFETY: the queue belongs to the device.
        let commands = unsafe { BlockingCommands::new(device, device.queue(), "pixels") }?;
        Ok(Self { commands, target })
    }

    /// Copies the picture, and waits for the copy, for at most `limit`.
    ///
    /// # Errors
    /// The error of the failed driver call. If the copy [may still
    /// run](vk_export::Error::may_still_run), the memory is leaked.
    ///
    /// # Safety
    /// The picture is a buffer of the device with the size of this memory that can be copied from.
    /// The commands that write it have been submitted to the device's queue. It lives until the
    /// copy has run: forever if it may still run after an error.
    pub(super) unsafe fn copy(
        self,
        device: &ExportDevice,
        picture: vk::Buffer,
        limit: Duration,
    ) -> Result<Self, vk_export::Error> {
        let Self { commands, target } = self;
        let (raw, size, copy) = (device.as_raw(), target.size(), target.as_raw());
        let record = |commands| {
            let barrier = |from, to| vk::MemoryBarrier::default().src_access_mask(from).dst_access_mask(to);
            let none = vk::DependencyFlags::empty();
            let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
            let drawn = barrier(vk::AccessFlags::SHADER_WRITE, vk::AccessFlags::TRANSFER_READ);
            // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: every graphics queue supports
            // the stages.
            unsafe { raw.cmd_pipeline_barrier(commands, draws, copies, none, &[drawn], &[], &[]) };
            // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both buffers have `size` bytes.
            unsafe { raw.cmd_copy_buffer(commands, picture, copy, &[vk::BufferCopy::default().size(size)]) };
            let copied = barrier(vk::AccessFlags::TRANSFER_WRITE, vk::AccessFlags::HOST_READ);
            let host = vk::PipelineStageFlags::HOST;
            // SAFETY: as above.
            unsafe { raw.cmd_pipeline_barrier(commands, copies, host, none, &[copied], &[], &[]) };
        };
        // SAFETY: the queue is that of `new`; the commands are valid, see above; this function's
        // contract, and the end of this function, for the lifetimes.
        match unsafe { commands.run(device.queue(), limit, record) } {
            Ok(commands) => Ok(Self { commands, target }),
            Err(error) => {
                if error.may_still_run() {
                    // The copy may still write it.
                    forget(target);
                }
                Err(error)
            }
        }
    }

    /// Returns the memory, with the picture that was copied last.
    pub(super) fn bytes(&self) -> Result<&[u8]> {
        // SAFETY: the last copy has run and made its writes visible to the host, and no other
        // commands write the memory.
        let bytes = unsafe { self.target.bytes() };
        bytes.ok_or_else(|| Error::invalid("pixels", "their memory is not mapped"))
    }
}
