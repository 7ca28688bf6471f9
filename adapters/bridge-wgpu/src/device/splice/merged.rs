//! A submission with additional waits and signals, and without command buffers that are known to be
//! empty or replaced.
#![allow(unsafe_code)] // Reads what Vulkan's pointers point to.

use ash::vk;
use smallvec::SmallVec;

use super::Added;
use crate::own_commands::OwnCommands;

/// The usual number of elements in a submission.
type Few<T> = SmallVec<[T; 8]>;

/// Submits with additional waits and signals: within the batch, if there is only one and its
/// semaphore values are known, and otherwise in separate batches before and after all others.
///
/// # Safety
/// The contract of `vkQueueSubmit`; the semaphores are timelines of the device and live until the
/// queue has reached them.
pub(super) unsafe fn submit_with(
    own: vk::PFN_vkQueueSubmit,
    queue: vk::Queue,
    batches: &[vk::SubmitInfo<'_>],
    fence: vk::Fence,
    added: &Added<'_>,
) -> vk::Result {
    let merged = match batches {
        // SAFETY: the caller upholds the contract.
        [batch] => unsafe { Merged::of(batch, added) },
        _ => None,
    };
    if let Some(merged) = &merged {
        #[cfg(test)]
        super::tests::note_held(&merged.commands);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&merged.waits.values)
            .signal_semaphore_values(&merged.signals.values);
        let mut batch = merged.batch;
        // The chained values of the batch, which the merged values contain.
        batch.p_next = std::ptr::null();
        let batch = batch
            .command_buffers(&merged.commands)
            .wait_semaphores(&merged.waits.raw)
            .wait_dst_stage_mask(&merged.stages)
            .signal_semaphores(&merged.signals.raw)
            .push_next(&mut values);
        // SAFETY: the batch is the caller's with additional waits and signals, and their values,
        // and without command buffers that are empty or replaced.
        return unsafe { own(queue, 1, &batch, fence) };
    }
    let (waits, signals) = (List::of(added.waits), List::of(added.signals));
    let stages = stages(waits.raw.len());
    let mut wait_values = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&waits.values);
    let mut signal_values = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&signals.values);
    let first = vk::SubmitInfo::default().wait_semaphores(&waits.raw).wait_dst_stage_mask(&stages);
    let last = vk::SubmitInfo::default().signal_semaphores(&signals.raw);
    let mut all = vec![first.push_next(&mut wait_values)];
    all.extend_from_slice(batches);
    all.push(last.push_next(&mut signal_values));
    // SAFETY: a wait covers everything that follows on the queue, and a signal everything before
    // it.
    unsafe { own(queue, all.len() as u32, all.as_ptr(), fence) }
}

fn stages(len: usize) -> Few<vk::PipelineStageFlags> {
    SmallVec::from_elem(vk::PipelineStageFlags::ALL_COMMANDS, len)
}

/// Semaphores with their values.
#[derive(Debug, Clone, Default)]
struct List {
    raw: Few<vk::Semaphore>,
    values: Few<u64>,
}

impl List {
    fn of(semaphores: &[vk::SemaphoreSubmitInfo<'_>]) -> Self {
        let mut list = Self::default();
        list.extend(semaphores);
        list
    }

    fn extend(&mut self, semaphores: &[vk::SemaphoreSubmitInfo<'_>]) {
        // The values of binary semaphores are ignored.
        self.values.resize(self.raw.len(), 0);
        self.raw.extend(semaphores.iter().map(|info| info.semaphore));
        self.values.extend(semaphores.iter().map(|info| info.value));
    }
}

/// A batch with additional semaphores.
struct Merged<'a> {
    batch: vk::SubmitInfo<'a>,
    commands: SmallVec<[vk::CommandBuffer; 16]>,
    waits: List,
    stages: Few<vk::PipelineStageFlags>,
    signals: List,
}

impl<'a> Merged<'a> {
    /// Returns `None` if the batch's chain contains more than the values of its timelines.
    ///
    /// # Safety
    /// The batch is valid.
    unsafe fn of(batch: &vk::SubmitInfo<'a>, added: &Added<'_>) -> Option<Self> {
        let (mut waits, mut signals) = (List::default(), List::default());
        let (waited, signaled) = (batch.wait_semaphore_count as usize, batch.signal_semaphore_count as usize);
        // SAFETY: the caller guarantees that the array has this length.
        waits.raw.extend_from_slice(unsafe { slice(batch.p_wait_semaphores, waited) });
        // SAFETY: the caller guarantees that the array has this length.
        signals.raw.extend_from_slice(unsafe { slice(batch.p_signal_semaphores, signaled) });
        if !batch.p_next.is_null() {
            let values = batch.p_next.cast::<vk::TimelineSemaphoreSubmitInfo<'_>>();
            // SAFETY: each structure of a chain begins with its type.
            let kind = unsafe { (*values).s_type };
            if kind != vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO {
                return None;
            }
            // SAFETY: the structure has this type.
            let values = unsafe { &*values };
            if !values.p_next.is_null() {
                return None;
            }
            let of_waits = values.wait_semaphore_value_count as usize;
            // SAFETY: the array has the length that the structure specifies.
            waits.values.extend_from_slice(unsafe { slice(values.p_wait_semaphore_values, of_waits) });
            let of_signals = values.signal_semaphore_value_count as usize;
            // SAFETY: the array has the length that the structure specifies.
            signals.values.extend_from_slice(unsafe { slice(values.p_signal_semaphore_values, of_signals) });
        }
        waits.extend(added.waits);
        signals.extend(added.signals);
        let mut stages = stages(waits.raw.len());
        // SAFETY: the array has one element for each wait.
        let of_batch = unsafe { slice(batch.p_wait_dst_stage_mask, waited) };
        stages.iter_mut().zip(of_batch).for_each(|(stage, of_batch)| *stage = *of_batch);
        let mut commands = SmallVec::new();
        // SAFETY: the caller guarantees a valid batch.
        let all = unsafe { commands_of(batch) };
        let own = if added.leaves_out { added.own } else { &[] };
        OwnCommands::held_by(own, all, |one| commands.push(one));
        commands.reverse();
        Some(Self { batch: *batch, commands, waits, stages, signals })
    }
}

/// Returns the command buffers of a batch.
///
/// # Safety
/// The batch is valid, and lives as long as the result is used.
pub(super) unsafe fn commands_of<'a>(batch: &vk::SubmitInfo<'_>) -> &'a [vk::CommandBuffer] {
    // SAFETY: the caller guarantees that the array has this length.
    unsafe { slice(batch.p_command_buffers, batch.command_buffer_count as usize) }
}

/// Returns a Vulkan array as a slice.
///
/// # Safety
/// `first` points to `count` elements, or may be null if `count` is 0; they live as long as the
/// result is used.
pub(super) unsafe fn slice<'a, T>(first: *const T, count: usize) -> &'a [T] {
    match count {
        0 => &[],
        // SAFETY: the caller upholds the contract.
        _ => unsafe { std::slice::from_raw_parts(first, count) },
    }
}
