//! Copies of submitted batches, and their submission to the underlying queue.
#![allow(unsafe_code)]

use ash::vk;

use super::binary::Ticket;
use crate::vulkan::chain::find;
use crate::vulkan::underlying::underlying;

/// A signal of or a wait for a semaphore.
#[derive(Debug)]
struct Operation {
    semaphore: vk::Semaphore,
    /// `None` for timelines.
    ticket: Option<Ticket>,
    /// The value, for timelines.
    value: u64,
    stages: vk::PipelineStageFlags2,
}

impl Operation {
    fn new(semaphore: vk::Semaphore, value: u64, stages: vk::PipelineStageFlags2) -> Self {
        Self { semaphore, ticket: Ticket::take(semaphore), value, stages }
    }

    fn of(info: &vk::SemaphoreSubmitInfo<'_>) -> Self {
        Self::new(info.semaphore, info.value, info.stage_mask)
    }

    fn info(&self) -> vk::SemaphoreSubmitInfo<'static> {
        vk::SemaphoreSubmitInfo::default().semaphore(self.semaphore).value(self.value).stage_mask(self.stages)
    }

    /// Waits until the semaphore has the value, or `is_over` returns `true`.
    fn await_value(&self, device: vk::Device, is_over: impl Fn() -> bool) -> vk::Result {
        let (semaphores, values) = ([self.semaphore], [self.value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        let wait = underlying().device.fp_v1_2().wait_semaphores;
        loop {
            // SAFETY: a live timeline of the device: the program must not destroy it before the
            // batch has ended.
            match unsafe { wait(device, &info, super::PERIOD.as_nanos() as u64) } {
                vk::Result::TIMEOUT if !is_over() => {}
                result => return result,
            }
        }
    }
}

/// A batch, as in `VkSubmitInfo2`. Structures that extend it are not copied; the underlying driver
/// knows none besides those that are read here.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waits: Vec<Operation>,
    pub(super) commands: Vec<vk::CommandBuffer>,
    signals: Vec<Operation>,
}

/// # Safety
///
/// `start` points to `count` elements, if that is not 0.
unsafe fn slice<'a, T>(start: *const T, count: u32) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(start, count as usize) }
}

impl Batch {
    /// # Safety
    ///
    /// `info` is valid.
    pub(super) unsafe fn of(info: &vk::SubmitInfo<'_>) -> Self {
        // SAFETY: guaranteed by the caller.
        let values = unsafe { find::<vk::TimelineSemaphoreSubmitInfo<'_>>(std::ptr::from_ref(info).cast()) };
        let (waited, signaled) = match values {
            Some(values) => {
                // SAFETY: guaranteed by the caller.
                let values = unsafe { &*values };
                // SAFETY: as above.
                let waited = unsafe { slice(values.p_wait_semaphore_values, values.wait_semaphore_value_count) };
                // SAFETY: as above.
                (waited, unsafe { slice(values.p_signal_semaphore_values, values.signal_semaphore_value_count) })
            }
            None => (&[][..], &[][..]),
        };
        let value = |values: &[u64], at: usize| values.get(at).copied().unwrap_or(0);
        // SAFETY: as above.
        let waits = unsafe { slice(info.p_wait_semaphores, info.wait_semaphore_count) };
        // SAFETY: as above.
        let stages = unsafe { slice(info.p_wait_dst_stage_mask, info.wait_semaphore_count) };
        // SAFETY: as above.
        let commands = unsafe { slice(info.p_command_buffers, info.command_buffer_count) };
        // SAFETY: as above.
        let signals = unsafe { slice(info.p_signal_semaphores, info.signal_semaphore_count) };
        // The flags have the same values in both versions.
        let stages = stages.iter().map(|stages| vk::PipelineStageFlags2::from_raw(stages.as_raw().into()));
        let waits = waits.iter().zip(stages).enumerate();
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        Self {
            waits: waits.map(|(at, (wait, stages))| Operation::new(*wait, value(waited, at), stages)).collect(),
            commands: commands.to_vec(),
            signals: signals
                .iter()
                .enumerate()
                .map(|(at, signal)| Operation::new(*signal, value(signaled, at), all))
                .collect(),
        }
    }

    /// # Safety
    ///
    /// `info` is valid.
    pub(super) unsafe fn of2(info: &vk::SubmitInfo2<'_>) -> Self {
        // SAFETY: guaranteed by the caller.
        let waits = unsafe { slice(info.p_wait_semaphore_infos, info.wait_semaphore_info_count) };
        // SAFETY: as above.
        let commands = unsafe { slice(info.p_command_buffer_infos, info.command_buffer_info_count) };
        // SAFETY: as above.
        let signals = unsafe { slice(info.p_signal_semaphore_infos, info.signal_semaphore_info_count) };
        Self {
            waits: waits.iter().map(Operation::of).collect(),
            commands: commands.iter().map(|commands| commands.command_buffer).collect(),
            signals: signals.iter().map(Operation::of).collect(),
        }
    }

    /// Returns a batch with nothing but waits for binary semaphores, as a presentation has them.
    pub(super) fn of_waits(semaphores: &[vk::Semaphore]) -> Self {
        let all = vk::PipelineStageFlags2::ALL_COMMANDS;
        Self { waits: semaphores.iter().map(|wait| Operation::new(*wait, 0, all)).collect(), ..Self::default() }
    }

    /// Waits until the batch can be forwarded without holding up what is forwarded after it, or
    /// `is_over` returns `true`.
    pub(super) fn await_waits(&self, device: vk::Device, is_over: impl Fn() -> bool) -> vk::Result {
        for wait in &self.waits {
            match wait.ticket {
                Some(ticket) => ticket.wait(wait.semaphore, 0, &is_over),
                None => match wait.await_value(device, &is_over) {
                    vk::Result::SUCCESS => {}
                    other => return other,
                },
            }
        }
        for signal in &self.signals {
            let own = self.waits.iter().filter(|wait| wait.semaphore == signal.semaphore).count();
            if let Some(ticket) = signal.ticket {
                ticket.wait(signal.semaphore, own as u64, &is_over);
            }
        }
        vk::Result::SUCCESS
    }

    /// Submits the batch to the underlying queue.
    ///
    /// # Safety
    ///
    /// The queue is valid and used by no other thread, and so is the fence, if it is not null. The
    /// batch can be submitted.
    pub(super) unsafe fn forward(&self, queue: vk::Queue, fence: vk::Fence) -> vk::Result {
        let [waits, signals] =
            [&self.waits, &self.signals].map(|all| all.iter().map(Operation::info).collect::<Vec<_>>());
        let commands =
            self.commands.iter().map(|commands| vk::CommandBufferSubmitInfo::default().command_buffer(*commands));
        let commands: Vec<_> = commands.collect();
        let info = vk::SubmitInfo2::default()
            .wait_semaphore_infos(&waits)
            .command_buffer_infos(&commands)
            .signal_semaphore_infos(&signals);
        // SAFETY: guaranteed by the caller.
        unsafe { (underlying().device.fp_v1_3().queue_submit2)(queue, 1, &info, fence) }
    }

    /// Records that the operations on binary semaphores are forwarded.
    pub(super) fn advance(&self) {
        let binary = self.waits.iter().chain(&self.signals).filter(|operation| operation.ticket.is_some());
        binary.for_each(|operation| Ticket::advance(operation.semaphore));
    }
}
