//! Command buffers that this crate records by itself, among those of a submission of wgpu's.
//!
//! A submission of the thread's is known by them, and so is what it holds beside them that is
//! empty. For each of its command buffers wgpu submits those of Vulkan's that hold the commands,
//! and one more in front of them, "Transit": the barriers, and the clears of memory that was not
//! written yet, that bring all that the commands use to the states from which they begin. It takes
//! them from the trackers and the lists of the command buffer (`Queue::submit` of wgpu-core). So of
//! a submission is known to be empty
//!
//! - Transit in front of commands that were recorded through `wgpu::hal`. These are in no tracker
//!   and no list, and wgpu refuses encoders with commands of both kinds.
//! - the commands of a command buffer that has only `transition_resources`, each resource once. Its
//!   states are those from which the command buffer begins, so that the barriers are in Transit;
//!   one is recorded behind that only if the same command buffer has used the resource before.
//!
//! A GPU takes microseconds for a command buffer that is empty. Vulkan does not ask that what was
//! recorded is submitted, and wgpu resets the command buffers of a submission alike.
//! That wgpu submits so many is looked at when a device is created, see
//! [`probe`](crate::device::probe).

use ash::vk;

/// One of these command buffers. What is not certain to be empty is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Own {
    commands: vk::CommandBuffer,
    /// Those directly in front of it that hold nothing.
    empty_before: usize,
    /// Whether it holds nothing itself.
    is_empty: bool,
}

impl Own {
    /// One with commands.
    pub(crate) fn new(commands: vk::CommandBuffer) -> Self {
        Self { commands, empty_before: 1, is_empty: false }
    }

    /// One with commands directly behind a command buffer of wgpu's that has only
    /// `transition_resources`, each resource once.
    pub(crate) fn behind_transitions(commands: vk::CommandBuffer) -> Self {
        Self { empty_before: 2, ..Self::new(commands) }
    }

    /// One without commands.
    pub(crate) fn empty(commands: vk::CommandBuffer) -> Self {
        Self { is_empty: true, ..Self::new(commands) }
    }

    /// Returns `true` if one of them is among `all`.
    pub(crate) fn is_any_in(own: &[Self], all: &[vk::CommandBuffer]) -> bool {
        own.iter().any(|own| all.contains(&own.commands))
    }

    /// Calls `with` with those of `all`, the last first, that are not known to be empty.
    pub(crate) fn held_by(own: &[Self], all: &[vk::CommandBuffer], mut with: impl FnMut(vk::CommandBuffer)) {
        let mut empty = 0;
        for commands in all.iter().rev() {
            match own.iter().find(|own| own.commands == *commands) {
                Some(own) => {
                    empty = own.empty_before;
                    if !own.is_empty {
                        with(*commands);
                    }
                }
                None if empty > 0 => empty -= 1,
                None => with(*commands),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(handle: u64) -> vk::CommandBuffer {
        vk::Handle::from_raw(handle)
    }

    fn held(own: &[Own], all: std::ops::Range<u64>) -> Vec<u64> {
        let mut held = Vec::new();
        let all: Vec<_> = all.map(raw).collect();
        Own::held_by(own, &all, |commands| held.push(vk::Handle::as_raw(commands)));
        held.reverse();
        held
    }

    #[test]
    fn what_is_in_front_of_an_own_one_is_left_out() {
        assert_eq!(held(&[], 1..5), [1, 2, 3, 4]);
        assert_eq!(held(&[Own::new(raw(2))], 1..5), [2, 3, 4]);
        assert_eq!(held(&[Own::new(raw(6)), Own::new(raw(2))], 1..7), [2, 3, 4, 6]);
        // Of others behind each other.
        assert_eq!(held(&[Own::new(raw(2)), Own::new(raw(4))], 1..5), [2, 4]);
    }

    #[test]
    fn transitions_are_submitted_and_the_commands_behind_them_are_not() {
        assert_eq!(held(&[Own::behind_transitions(raw(6))], 1..9), [1, 2, 3, 6, 7, 8]);
    }

    #[test]
    fn an_empty_one_is_left_out_itself() {
        assert_eq!(held(&[Own::empty(raw(4))], 1..6), [1, 2, 5]);
        assert_eq!(held(&[Own::empty(raw(2))], 1..3), [0; 0]);
    }
}
