//! The barriers that transfer the ownership of a buffer's contents.

use ash::vk;

use crate::buffer::Buffer;
use crate::buffer::access::BufferAccess;

/// The owner of a buffer or an image while Vulkan does not own it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counterpart {
    /// Another API on the same GPU: ownership moves to and from `VK_QUEUE_FAMILY_EXTERNAL`.
    External,
    /// The CPU through a host mapping: no ownership transfer; host accesses are made visible.
    Host,
    /// Kernels recorded into command buffers of the same queue, see [`Kernel`](crate::Kernel): no
    /// ownership transfer; their accesses are those of compute shaders.
    Kernels,
}

impl Counterpart {
    /// Returns the stages and accesses of the counterpart before Vulkan's access, for the source of
    /// the acquire barrier. Another API has no Vulkan stages or accesses: the ownership transfer
    /// itself makes its writes available.
    pub(crate) fn before(self) -> (vk::PipelineStageFlags2, vk::AccessFlags2) {
        match self {
            Self::External => (vk::PipelineStageFlags2::NONE, vk::AccessFlags2::NONE),
            Self::Host => (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_WRITE),
            Self::Kernels => (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::AccessFlags2::SHADER_WRITE),
        }
    }

    /// Returns the stages and accesses of the counterpart after Vulkan's, see
    /// [`before`](Self::before).
    pub(crate) fn after(self) -> (vk::PipelineStageFlags2, vk::AccessFlags2) {
        match self {
            Self::External => (vk::PipelineStageFlags2::NONE, vk::AccessFlags2::NONE),
            Self::Host => (vk::PipelineStageFlags2::HOST, vk::AccessFlags2::HOST_READ | vk::AccessFlags2::HOST_WRITE),
            Self::Kernels => (
                vk::PipelineStageFlags2::COMPUTE_SHADER,
                vk::AccessFlags2::SHADER_READ | vk::AccessFlags2::SHADER_WRITE,
            ),
        }
    }

    /// Returns the queue families of the counterpart and of Vulkan for the barriers.
    pub(crate) fn families(self, queue_family: u32) -> (u32, u32) {
        match self {
            Self::External => (vk::QUEUE_FAMILY_EXTERNAL, queue_family),
            Self::Host | Self::Kernels => (vk::QUEUE_FAMILY_IGNORED, vk::QUEUE_FAMILY_IGNORED),
        }
    }
}

/// The barriers that hand over a buffer: the buffer, the queue family that uses it, its accesses,
/// and the side that it is shared with.
///
/// In a frame's command buffers, the acquire barrier must come before every other use of the
/// buffer, and the release barrier after every other use. Without them, the contents are undefined
/// (Vulkan specification, "Queue Family Ownership Transfer").
///
/// See "Queue Family Ownership Transfer" in the [Vulkan specification][transfer].
///
/// [transfer]: https://docs.vulkan.org/spec/latest/chapters/synchronization.html#synchronization-queue-transfers
#[derive(Debug, Clone, Copy)]
pub struct Handover {
    buffer: vk::Buffer,
    counterpart: Counterpart,
    queue_family: u32,
    accesses: BufferAccess,
}

impl Handover {
    /// Creates the hand-over of `buffer` between `counterpart` and `queue_family`, which uses it
    /// with `accesses`.
    pub fn new(buffer: &Buffer, counterpart: Counterpart, queue_family: u32, accesses: BufferAccess) -> Self {
        Self::of(buffer.as_raw(), counterpart, queue_family, accesses)
    }

    pub(crate) fn of(buffer: vk::Buffer, counterpart: Counterpart, queue_family: u32, accesses: BufferAccess) -> Self {
        Self { buffer, counterpart, queue_family, accesses }
    }

    /// Returns Vulkan's accesses to the buffer.
    pub fn accesses(&self) -> BufferAccess {
        self.accesses
    }

    /// Returns the barrier that acquires the buffer from the counterpart, before Vulkan's first
    /// access.
    ///
    /// The semaphore wait of the submission orders it after the counterpart's work. For the host,
    /// the wait is at the stages of the accesses. For another API, it must be at
    /// `VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT`, because an acquire operation happens in no other
    /// stage (Vulkan specification, "Queue Family Ownership Transfer").
    pub fn acquire(&self) -> vk::BufferMemoryBarrier2<'static> {
        let (stages, access) = self.counterpart.before();
        let (from, to) = self.counterpart.families(self.queue_family);
        // The stages of the accesses chain the barrier after that wait and after Vulkan's own last
        // writes. An acquire operation ignores the source access, but a validation layer, which
        // does not see the counterpart's work, needs it.
        self.barrier()
            .src_stage_mask(stages | self.accesses.stages)
            .src_access_mask(access | self.accesses.writes())
            .dst_stage_mask(self.accesses.stages)
            .dst_access_mask(self.accesses.access)
            .src_queue_family_index(from)
            .dst_queue_family_index(to)
    }

    /// Returns the barrier that gives the buffer back to the counterpart, after Vulkan's last
    /// access.
    ///
    /// The semaphore signal of the submission orders the counterpart's work after it.
    pub fn release(&self) -> vk::BufferMemoryBarrier2<'static> {
        let (stages, access) = self.counterpart.after();
        let (from, to) = self.counterpart.families(self.queue_family);
        self.barrier()
            .src_stage_mask(self.accesses.stages)
            .src_access_mask(self.accesses.access)
            .dst_stage_mask(stages)
            .dst_access_mask(access)
            .src_queue_family_index(to)
            .dst_queue_family_index(from)
    }

    fn barrier(&self) -> vk::BufferMemoryBarrier2<'static> {
        vk::BufferMemoryBarrier2::default().buffer(self.buffer).offset(0).size(vk::WHOLE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover(counterpart: Counterpart, accesses: BufferAccess) -> Handover {
        Handover::of(vk::Buffer::null(), counterpart, 3, accesses)
    }

    #[test]
    fn external_moves_ownership_both_ways() {
        let h = handover(Counterpart::External, BufferAccess::VERTEX_INPUT);
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
    fn earlier_vulkan_writes_are_in_the_source_scope() {
        let h = handover(Counterpart::External, BufferAccess::TRANSFER_READ | BufferAccess::TRANSFER_WRITE);
        assert_eq!(h.acquire().src_access_mask, vk::AccessFlags2::TRANSFER_WRITE);
    }

    #[test]
    fn host_moves_no_ownership_but_names_host_accesses() {
        let h = handover(Counterpart::Host, BufferAccess::TRANSFER_READ);
        let (acquire, release) = (h.acquire(), h.release());
        assert_eq!(acquire.src_queue_family_index, acquire.dst_queue_family_index);
        assert_eq!(acquire.src_access_mask, vk::AccessFlags2::HOST_WRITE);
        assert_eq!(release.dst_access_mask, vk::AccessFlags2::HOST_READ | vk::AccessFlags2::HOST_WRITE);
        assert_eq!(release.dst_stage_mask, vk::PipelineStageFlags2::HOST);
    }
}
