//! Command buffers that this crate adds to wgpu's submissions.
//!
//! They identify the submission, and which of its other command buffers it does not need. For each
//! `wgpu::CommandBuffer`, wgpu submits two Vulkan command buffers: "Transit", with the barriers and
//! clears that bring all resources of the commands to their initial state, followed by the commands
//! (`Queue::submit` of wgpu-core). Transit is made from the trackers and lists of the command
//! buffer. The following are therefore known to be empty, or to be replaced:
//!
//! - Transit of commands that were recorded through `wgpu::hal`: they are in no tracker and no
//!   list, and wgpu rejects encoders with commands of both kinds.
//! - The commands of a command buffer that has only `transition_resources`, with each resource
//!   once: all barriers are in its Transit. wgpu records a barrier among the commands only if the
//!   same command buffer has used the resource before.
//! - Transit of such a command buffer, if it has buffers only and the next commands begin with
//!   [`wide_barrier`]: that one orders and makes visible everything that Transit's barriers do, and
//!   buffers have no layout. Transit contains nothing else, because `transition_resources` adds
//!   nothing to the lists from which wgpu clears resources.
//!
//! A GPU takes microseconds for each command buffer, also for an empty one, so these are omitted.
//! Vulkan does not require that recorded command buffers are submitted, and wgpu resets all of them
//! alike. When a device is created, [`probe`](crate::device::probe) submits such a command buffer
//! for a buffer and a texture, and checks the number of command buffers and that Transit has all
//! barriers. If wgpu submits in another way, nothing is omitted.
#![allow(unsafe_code)] // Records a barrier.

use ash::vk;

/// A command buffer of this crate, and which ones near it are omitted. Every command buffer that is
/// not known to be empty or replaced is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnCommands {
    commands: vk::CommandBuffer,
    /// Number of command buffers directly before it that are empty or replaced.
    omitted_before: usize,
    /// `true` if the command buffer itself is empty.
    is_empty: bool,
}

impl OwnCommands {
    /// Returns a command buffer with commands.
    pub(crate) fn new(commands: vk::CommandBuffer) -> Self {
        Self { commands, omitted_before: 1, is_empty: false }
    }

    /// Returns a command buffer with commands, directly after one of wgpu's that has only
    /// `transition_resources`, with each resource once.
    pub(crate) fn behind_transitions(commands: vk::CommandBuffer) -> Self {
        Self { omitted_before: 2, ..Self::new(commands) }
    }

    /// Returns a command buffer that begins with [`wide_barrier`], directly after one of wgpu's that
    /// has only `transition_resources` of buffers, with each buffer once.
    pub(crate) fn in_place_of_transitions(commands: vk::CommandBuffer) -> Self {
        Self { omitted_before: 3, ..Self::new(commands) }
    }

    /// Returns a command buffer without commands.
    pub(crate) fn empty(commands: vk::CommandBuffer) -> Self {
        Self { is_empty: true, ..Self::new(commands) }
    }

    /// Returns Vulkan's command buffer.
    pub(crate) fn commands(self) -> vk::CommandBuffer {
        self.commands
    }

    /// Returns `true` if `all` contains a command buffer of `own`.
    pub(crate) fn is_any_in(own: &[Self], all: &[vk::CommandBuffer]) -> bool {
        own.iter().any(|own| all.contains(&own.commands))
    }

    /// Calls `with` for each command buffer of `all` that is not known to be empty or replaced, in
    /// reverse order.
    pub(crate) fn held_by(own: &[Self], all: &[vk::CommandBuffer], mut with: impl FnMut(vk::CommandBuffer)) {
        let mut omitted = 0;
        for commands in all.iter().rev() {
            match own.iter().find(|own| own.commands == *commands) {
                Some(own) => {
                    omitted = own.omitted_before;
                    if !own.is_empty {
                        with(*commands);
                    }
                }
                None if omitted > 0 => omitted -= 1,
                None => with(*commands),
            }
        }
    }
}

/// Records a barrier before copies of buffers, after all earlier commands of the queue. wgpu's
/// barriers name the last use of a buffer, which only wgpu knows when it submits. The commands for
/// which this barrier waits in addition are of the same submission, because wgpu makes each
/// submission wait for the end of the previous one.
///
/// # Safety
/// The commands are recording, outside of a pass.
pub(crate) unsafe fn wide_barrier(device: &ash::Device, commands: vk::CommandBuffer) {
    let barrier = vk::MemoryBarrier::default()
        .src_access_mask(vk::AccessFlags::MEMORY_WRITE)
        .dst_access_mask(vk::AccessFlags::TRANSFER_READ | vk::AccessFlags::TRANSFER_WRITE);
    let (from, to) = (vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::TRANSFER);
    let none = vk::DependencyFlags::empty();
    // SAFETY: the caller upholds the contract; every queue supports these stages and accesses.
    unsafe { device.cmd_pipeline_barrier(commands, from, to, none, &[barrier], &[], &[]) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(handle: u64) -> vk::CommandBuffer {
        vk::Handle::from_raw(handle)
    }

    fn held(own: &[OwnCommands], all: std::ops::Range<u64>) -> Vec<u64> {
        let mut held = Vec::new();
        let all: Vec<_> = all.map(raw).collect();
        OwnCommands::held_by(own, &all, |commands| held.push(vk::Handle::as_raw(commands)));
        held.reverse();
        held
    }

    #[test]
    fn what_is_in_front_of_an_own_one_is_left_out() {
        assert_eq!(held(&[], 1..5), [1, 2, 3, 4]);
        assert_eq!(held(&[OwnCommands::new(raw(2))], 1..5), [2, 3, 4]);
        assert_eq!(held(&[OwnCommands::new(raw(6)), OwnCommands::new(raw(2))], 1..7), [2, 3, 4, 6]);
        // Two of this crate's, one directly after the other.
        assert_eq!(held(&[OwnCommands::new(raw(2)), OwnCommands::new(raw(4))], 1..5), [2, 4]);
    }

    #[test]
    fn transitions_are_submitted_and_the_commands_behind_them_are_not() {
        assert_eq!(held(&[OwnCommands::behind_transitions(raw(6))], 1..9), [1, 2, 3, 6, 7, 8]);
    }

    #[test]
    fn replaced_transitions_are_left_out() {
        assert_eq!(held(&[OwnCommands::in_place_of_transitions(raw(6))], 1..9), [1, 2, 6, 7, 8]);
        let two = [4, 8].map(|own| OwnCommands::in_place_of_transitions(raw(own)));
        assert_eq!(held(&two, 1..10), [4, 8, 9]);
    }

    #[test]
    fn an_empty_one_is_left_out_itself() {
        assert_eq!(held(&[OwnCommands::empty(raw(4))], 1..6), [1, 2, 5]);
        assert_eq!(held(&[OwnCommands::empty(raw(2))], 1..3), [0; 0]);
    }
}
