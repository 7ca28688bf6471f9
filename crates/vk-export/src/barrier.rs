//! The barriers that pass a buffer's contents from one owner to the other.

use ash::vk;

use crate::{Buffer, Consumer};

/// Who holds the buffer while Vulkan does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Partner {
    /// Another API on the same GPU: ownership moves to and from `VK_QUEUE_FAMILY_EXTERNAL`.
    External,
    /// The CPU through a host mapping: no ownership moves, host accesses are made visible.
    Host,
}

/// A buffer, the queue family that uses it, how, and with whom it is shared: all that its barriers need.
///
/// The acquire barrier is the first, the release barrier the last thing to touch the buffer in a frame's command
/// buffers. Without them the contents are undefined (Vulkan specification, "Queue Family Ownership Transfer").
#[derive(Debug, Clone, Copy)]
pub struct Handover {
    buffer: vk::Buffer,
    partner: Partner,
    queue_family: u32,
    consumer: Consumer,
}

/// A barrier for `vkCmdPipelineBarrier`, for engines that do not use synchronization2.
#[derive(Debug, Clone, Copy)]
pub struct LegacyBarrier {
    /// `srcStageMask`
    pub src_stages: vk::PipelineStageFlags,
    /// `dstStageMask`
    pub dst_stages: vk::PipelineStageFlags,
    /// The barrier itself.
    pub barrier: vk::BufferMemoryBarrier<'static>,
}

impl Handover {
    /// The hand-over of `buffer` between `partner` and `queue_family`, which uses it as `consumer` says.
    pub fn new(buffer: &Buffer, partner: Partner, queue_family: u32, consumer: Consumer) -> Self {
        Self { buffer: buffer.as_raw(), partner, queue_family, consumer }
    }

    /// The barrier that takes the buffer over from the partner, before Vulkan's first access.
    ///
    /// The semaphore wait of the submission orders it after the partner's work.
    pub fn acquire(&self) -> vk::BufferMemoryBarrier2<'static> {
        let (stages, access) = self.partner_scope(vk::AccessFlags2::HOST_WRITE);
        let (from, to) = self.families();
        // The consumer's stages, which are the semaphore wait's too, chain the barrier behind that wait.
        self.barrier()
            .src_stage_mask(stages | self.consumer.stages)
            .src_access_mask(access)
            .dst_stage_mask(self.consumer.stages)
            .dst_access_mask(self.consumer.access)
            .src_queue_family_index(from)
            .dst_queue_family_index(to)
    }

    /// The barrier that gives the buffer back to the partner, after Vulkan's last access.
    ///
    /// The semaphore signal of the submission orders the partner's work after it.
    pub fn release(&self) -> vk::BufferMemoryBarrier2<'static> {
        let (stages, access) = self.partner_scope(vk::AccessFlags2::HOST_READ | vk::AccessFlags2::HOST_WRITE);
        let (from, to) = self.families();
        self.barrier()
            .src_stage_mask(self.consumer.stages)
            .src_access_mask(self.consumer.access)
            .dst_stage_mask(stages)
            .dst_access_mask(access)
            .src_queue_family_index(to)
            .dst_queue_family_index(from)
    }

    /// [`acquire`](Self::acquire) for `vkCmdPipelineBarrier`.
    pub fn acquire_legacy(&self) -> LegacyBarrier {
        LegacyBarrier::from(self.acquire())
    }

    /// [`release`](Self::release) for `vkCmdPipelineBarrier`.
    pub fn release_legacy(&self) -> LegacyBarrier {
        LegacyBarrier::from(self.release())
    }

    fn barrier(&self) -> vk::BufferMemoryBarrier2<'static> {
        vk::BufferMemoryBarrier2::default().buffer(self.buffer).offset(0).size(vk::WHOLE_SIZE)
    }

    /// The partner's stages and accesses as Vulkan can name them. Another API's are none of Vulkan's: the ownership
    /// transfer itself makes its writes available.
    fn partner_scope(&self, host: vk::AccessFlags2) -> (vk::PipelineStageFlags2, vk::AccessFlags2) {
        match self.partner {
            Partner::External => (vk::PipelineStageFlags2::NONE, vk::AccessFlags2::NONE),
            Partner::Host => (vk::PipelineStageFlags2::HOST, host),
        }
    }

    /// Queue families on the partner's and on Vulkan's side.
    fn families(&self) -> (u32, u32) {
        match self.partner {
            Partner::External => (vk::QUEUE_FAMILY_EXTERNAL, self.queue_family),
            Partner::Host => (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED),
        }
    }
}

impl From<vk::BufferMemoryBarrier2<'static>> for LegacyBarrier {
    fn from(barrier: vk::BufferMemoryBarrier2<'static>) -> Self {
        Self {
            src_stages: or(legacy_stages(barrier.src_stage_mask), vk::PipelineStageFlags::TOP_OF_PIPE),
            dst_stages: or(legacy_stages(barrier.dst_stage_mask), vk::PipelineStageFlags::BOTTOM_OF_PIPE),
            barrier: vk::BufferMemoryBarrier::default()
                .src_access_mask(legacy_access(barrier.src_access_mask))
                .dst_access_mask(legacy_access(barrier.dst_access_mask))
                .src_queue_family_index(barrier.src_queue_family_index)
                .dst_queue_family_index(barrier.dst_queue_family_index)
                .buffer(barrier.buffer)
                .offset(barrier.offset)
                .size(barrier.size),
        }
    }
}

/// `NONE` is spelt as an empty end of the pipe in the old form.
fn or(stages: vk::PipelineStageFlags, none: vk::PipelineStageFlags) -> vk::PipelineStageFlags {
    if stages.is_empty() { none } else { stages }
}

/// Stages of synchronization2 in the old form, for `vkCmdPipelineBarrier` and `vkQueueSubmit`.
///
/// The low 32 bits of the two enums are the same; stages that were split from an older one become that.
pub fn legacy_stages(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    const TRANSFER: u64 = vk::PipelineStageFlags2::COPY.as_raw()
        | vk::PipelineStageFlags2::RESOLVE.as_raw()
        | vk::PipelineStageFlags2::BLIT.as_raw()
        | vk::PipelineStageFlags2::CLEAR.as_raw();
    const VERTEX_INPUT: u64 =
        vk::PipelineStageFlags2::INDEX_INPUT.as_raw() | vk::PipelineStageFlags2::VERTEX_ATTRIBUTE_INPUT.as_raw();
    let raw = stages.as_raw();
    let mut legacy = vk::PipelineStageFlags::from_raw(u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(0));
    if raw & TRANSFER != 0 {
        legacy |= vk::PipelineStageFlags::TRANSFER;
    }
    if raw & VERTEX_INPUT != 0 {
        legacy |= vk::PipelineStageFlags::VERTEX_INPUT;
    }
    legacy
}

fn legacy_access(access: vk::AccessFlags2) -> vk::AccessFlags {
    const READ: u64 = vk::AccessFlags2::SHADER_STORAGE_READ.as_raw() | vk::AccessFlags2::SHADER_SAMPLED_READ.as_raw();
    let raw = access.as_raw();
    let mut legacy = vk::AccessFlags::from_raw(u32::try_from(raw & u64::from(u32::MAX)).unwrap_or(0));
    if raw & READ != 0 {
        legacy |= vk::AccessFlags::SHADER_READ;
    }
    if raw & vk::AccessFlags2::SHADER_STORAGE_WRITE.as_raw() != 0 {
        legacy |= vk::AccessFlags::SHADER_WRITE;
    }
    legacy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover(partner: Partner, consumer: Consumer) -> Handover {
        Handover { buffer: vk::Buffer::null(), partner, queue_family: 3, consumer }
    }

    #[test]
    fn external_moves_ownership_both_ways() {
        let h = handover(Partner::External, Consumer::VERTEX_INPUT);
        let (acquire, release) = (h.acquire(), h.release());
        assert_eq!((acquire.src_queue_family_index, acquire.dst_queue_family_index), (vk::QUEUE_FAMILY_EXTERNAL, 3));
        assert_eq!((release.src_queue_family_index, release.dst_queue_family_index), (3, vk::QUEUE_FAMILY_EXTERNAL));
        assert_eq!(acquire.dst_access_mask, vk::AccessFlags2::VERTEX_ATTRIBUTE_READ);
        assert_eq!(release.src_stage_mask, vk::PipelineStageFlags2::VERTEX_INPUT);
        assert_eq!(acquire.src_stage_mask, vk::PipelineStageFlags2::VERTEX_INPUT, "chains behind the semaphore wait");
        assert_eq!(acquire.src_access_mask, vk::AccessFlags2::NONE);
        assert_eq!(release.dst_stage_mask, vk::PipelineStageFlags2::NONE);
    }

    #[test]
    fn host_moves_no_ownership_but_names_host_accesses() {
        let h = handover(Partner::Host, Consumer::TRANSFER_READ);
        let (acquire, release) = (h.acquire(), h.release());
        assert_eq!(acquire.src_queue_family_index, acquire.dst_queue_family_index);
        assert_eq!(acquire.src_access_mask, vk::AccessFlags2::HOST_WRITE);
        assert_eq!(release.dst_access_mask, vk::AccessFlags2::HOST_READ | vk::AccessFlags2::HOST_WRITE);
        assert_eq!(release.dst_stage_mask, vk::PipelineStageFlags2::HOST);
    }

    #[test]
    fn legacy_form_says_the_same() {
        let both = handover(Partner::External, Consumer::SHADER_READ | Consumer::VERTEX_INPUT).acquire_legacy();
        assert_eq!(both.src_stages, both.dst_stages);
        let release = handover(Partner::External, Consumer::SHADER_READ).release_legacy();
        assert_eq!(release.dst_stages, vk::PipelineStageFlags::BOTTOM_OF_PIPE);
        assert_eq!(
            both.dst_stages,
            vk::PipelineStageFlags::VERTEX_INPUT
                | vk::PipelineStageFlags::VERTEX_SHADER
                | vk::PipelineStageFlags::FRAGMENT_SHADER
        );
        assert_eq!(both.barrier.dst_access_mask, vk::AccessFlags::SHADER_READ | vk::AccessFlags::VERTEX_ATTRIBUTE_READ);
        let write = handover(Partner::Host, Consumer::COMPUTE_READ_WRITE).release_legacy();
        assert_eq!(write.barrier.src_access_mask, vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE);
        assert_eq!(write.dst_stages, vk::PipelineStageFlags::HOST);
        let custom = Consumer { stages: vk::PipelineStageFlags2::COPY, ..Consumer::TRANSFER_READ };
        assert_eq!(handover(Partner::External, custom).acquire_legacy().dst_stages, vk::PipelineStageFlags::TRANSFER);
    }
}
