//! Copies between buffers, recorded in an inline stream.
#![allow(unsafe_code)] // Recording.

use vk_export::ash::vk;

use crate::compute::inline::segment::{Keep, barrier};
use crate::compute::inline::stream::InlineStream;
use crate::error::Result;

/// A copy from the start of one buffer to the start of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BufferCopy {
    pub(crate) from: vk::Buffer,
    pub(crate) to: vk::Buffer,
    pub(crate) size: u64,
}

impl InlineStream {
    /// Records copies after all earlier work. `keep` lives until they have run.
    ///
    /// # Safety
    /// The buffers belong to this device, have at least `size` bytes and the usages of a copy, and
    /// are kept alive by `keep` or the caller until the copies have run. Until then, nothing but
    /// the recorded commands uses them.
    pub(crate) unsafe fn copy(&self, keep: impl IntoIterator<Item = Keep>, copies: &[BufferCopy]) -> Result<()> {
        if copies.is_empty() {
            return Ok(());
        }
        let device = self.device();
        let all = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
        let kernels = (vk::PipelineStageFlags2::COMPUTE_SHADER, all);
        let transfer = (vk::PipelineStageFlags2::ALL_TRANSFER, all);
        let record = |commands| {
            // SAFETY: recording, outside a render pass.
            unsafe { barrier(device, commands, kernels, transfer) };
            for copy in copies {
                let region = [vk::BufferCopy::default().size(copy.size)];
                // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116, by this function's contract.
                unsafe { device.as_raw().cmd_copy_buffer(commands, copy.from, copy.to, &region) };
            }
            // SAFETY: as above.
            unsafe { barrier(device, commands, transfer, kernels) };
            Ok(())
        };
        // SAFETY: the caller upholds the contract.
        unsafe { self.record(keep, record) }
    }
}
