//! The picture's ways out: to the host, and into a tensor.

// Vulkan calls, and mapped memory.
#![allow(unsafe_code)]

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Exchange, ExchangeInfo};
use vk_local::{LocalBuffer, MemoryLocation};

use crate::error::{Fault, Kind};
use crate::screen::copy::refuse_captured;
use crate::screen::pipeline::failed;
use crate::screen::{Screen, limit, told};
use crate::tensor::dtype::DType;
use crate::tensor::{TensorView, tuple};

impl Screen {
    /// The picture: rows from the top, four bytes a pixel. Black before the first frame.
    pub(crate) fn pixels(&mut self) -> Result<Vec<u8>, Fault> {
        self.finish()?;
        let size = self.picture.size();
        if !self.drawn {
            let black = [0, 0, 0, 255].into_iter().cycle();
            return Ok(black.take(usize::try_from(size).unwrap_or(0)).collect());
        }
        let device = self.compute.device();
        let usage = vk::BufferUsageFlags::TRANSFER_DST;
        let target = LocalBuffer::new(device, "pixels", size, usage, MemoryLocation::GpuToCpu)
            .map_err(|error| Fault::new(Kind::Driver, error))?;
        let raw = device.as_raw();
        let (source, copy) = (self.picture.as_raw(), target.as_raw());
        let record = |commands| {
            let barrier = |from, to| vk::MemoryBarrier::default().src_access_mask(from).dst_access_mask(to);
            let none = vk::DependencyFlags::empty();
            let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
            let drawn = barrier(vk::AccessFlags::SHADER_WRITE, vk::AccessFlags::TRANSFER_READ);
            // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
            unsafe { raw.cmd_pipeline_barrier(commands, draws, copies, none, &[drawn], &[], &[]) };
            // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both have `size` bytes.
            unsafe { raw.cmd_copy_buffer(commands, source, copy, &[vk::BufferCopy::default().size(size)]) };
            let copied = barrier(vk::AccessFlags::TRANSFER_WRITE, vk::AccessFlags::HOST_READ);
            let host = vk::PipelineStageFlags::HOST;
            // SAFETY: as above.
            unsafe { raw.cmd_pipeline_barrier(commands, copies, host, none, &[copied], &[], &[]) };
        };
        // SAFETY: the queue is the device's; the commands are valid, see above.
        let ran = unsafe { device.run_once(device.queue(), "pixels", limit(), record) };
        if let Err(error) = ran {
            // It may still run, and reads the picture.
            std::mem::forget(target);
            let fault = Fault::new(Kind::Driver, error);
            self.stuck = Some(fault.clone());
            return Err(fault);
        }
        // SAFETY: the copy has run, and made its writes visible to the host.
        let bytes = unsafe { target.bytes() };
        bytes.map(<[u8]>::to_vec).ok_or_else(|| Fault::new(Kind::Driver, "the memory of the pixels is not mapped"))
    }

    /// Copies the picture into a tensor of shape (height, width, 4), of bytes; see
    /// [`Copier::copy_out`].
    pub(crate) fn read(&mut self, tensor: &mut TensorView) -> Result<(), Fault> {
        let shape = [self.height, self.width, 4];
        if tensor.dtype != DType::U8 || tensor.shape != shape.map(|side| side as usize) {
            let reason = format!("the picture is uint8 {}, the tensor {}", tuple(&shape), tensor.describe());
            return Err(Fault::new(Kind::Shape, reason));
        }
        if tensor.read_only {
            return Err(Fault::new(Kind::Layout, "the tensor is read-only: the picture cannot be copied into it"));
        }
        if !self.drawn {
            return Err(Fault::new(Kind::Usage, "nothing has been drawn so far"));
        }
        refuse_captured(&self.compute, &tensor.producer)?;
        let size = self.picture.size();
        if self.output.is_none() {
            let len = usize::try_from(size).map_err(|error| Fault::new(Kind::Shape, error))?;
            let spec = BufferSpec::new(len, BufferAccess::TRANSFER_WRITE);
            let info = ExchangeInfo { name: "read", timeout: limit(), ..ExchangeInfo::default() };
            self.output = Some(Exchange::render_first(&self.compute, &info, spec).map_err(told)?);
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        let frame = match output.begin() {
            Err(error @ bridge::Error::TurnLost { .. }) => {
                log::warn!("{error}");
                output.begin()
            }
            begun => begun,
        };
        let frame = frame.map_err(told)?;
        let picture = self.picture.as_raw();
        let raw = self.compute.device().as_raw().clone();
        // SAFETY: the picture is a storage buffer; the set is not used.
        let recording = unsafe { self.ring.begin(limit(), [picture; 3]) };
        let recording = match recording {
            Ok(recording) => recording,
            Err(fault) => {
                frame.skip();
                return Err(fault);
            }
        };
        let commands = recording.commands;
        let drawn = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::TRANSFER_READ);
        let (draws, copies) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::TRANSFER);
        // SAFETY: recording, for the family of the graphics queue, outside of a render pass.
        unsafe { frame.record_acquire(commands) };
        // SAFETY: VUID-vkCmdPipelineBarrier-srcStageMask-06461: stages of every graphics queue.
        unsafe {
            raw.cmd_pipeline_barrier(commands, draws, copies, vk::DependencyFlags::empty(), &[drawn], &[], &[]);
        }
        let whole = [vk::BufferCopy::default().size(size)];
        // SAFETY: VUID-vkCmdCopyBuffer-size-00115, -00116: both have `size` bytes.
        unsafe { raw.cmd_copy_buffer(commands, picture, frame.resources().as_raw(), &whole) };
        // SAFETY: as the acquire.
        unsafe { frame.record_release(commands) };
        // SAFETY: VUID-vkEndCommandBuffer-commandBuffer-00059: recording since `begin`.
        if let Err(code) = unsafe { raw.end_command_buffer(commands) } {
            frame.skip();
            return Err(failed("vkEndCommandBuffer")(code));
        }
        // SAFETY: the commands acquire and release the slot, and live until the ring has seen the
        // point.
        let turn = unsafe { frame.submit(&[commands]) }.map_err(told)?;
        self.ring.submitted(recording, turn.rendered());
        self.copier.copy_out(&self.compute, turn, tensor)
    }
}
