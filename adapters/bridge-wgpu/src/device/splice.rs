//! Waits and signals in the very submission of wgpu's that holds a frame's commands.
//!
//! wgpu stages semaphores for its next submission, whichever thread makes that, so that a frame's
//! signal needs a submission of its own. On devices that this crate creates, wgpu calls
//! `vkQueueSubmit` through a function of this module: what a thread [adds](Splice::during) goes
//! into the next submission that this thread makes with the command buffers that it is for, and
//! whether that was made is known. wgpu may make others before: behind a submission that it refused
//! it does what the command buffers had deferred, and submits pending writes for that.
//!
//! wgpu calls it under its lock on submissions, so that the queue is externally synchronized as
//! before: the function makes one call of the driver's in place of one. In that call it leaves out
//! command buffers that are known to hold nothing, see [`OwnCommands`].
//!
//! A command buffer stands for its submission only as long as it holds what was recorded into it,
//! see [`recordings`].
#![allow(unsafe_code)] // Stands in for a function of the driver's.

mod merged;
mod recordings;

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::{PoisonError, RwLock};

use ash::vk;

use super::{layouts, loader};
use crate::own_commands::OwnCommands;
use merged::{commands_of, slice, submit_with};
use recordings::Recordings;

/// The queues of devices that call [`queue_submit`], and the driver's own function.
static QUEUES: RwLock<Vec<(vk::Queue, vk::PFN_vkQueueSubmit)>> = RwLock::new(Vec::new());

thread_local! {
    /// Semaphores for the next submission of this thread, owned by the [`Splice::during`] that it
    /// is in; null outside of one. Without a destructor, since a thread that ends may still submit.
    static ADDED: Cell<*const Added<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Waits and signals for a submission.
struct Added<'a> {
    queue: vk::Queue,
    /// Command buffers of the submission that takes them along; empty where any does.
    own: &'a [OwnCommands],
    /// Tracks whether the command buffers in `own` still contain what this crate recorded.
    recordings: Recordings,
    waits: &'a [vk::SemaphoreSubmitInfo<'static>],
    signals: &'a [vk::SemaphoreSubmitInfo<'static>],
    /// If `true`, the submission omits the command buffers that `own` identifies as empty.
    leaves_out: bool,
    /// The driver's answer, once it was taken along.
    result: Cell<Option<vk::Result>>,
    /// The number of command buffers that wgpu gave to that submission.
    count: Cell<usize>,
}

impl Added<'_> {
    /// Returns `true` if a submission of these batches to the queue takes it along.
    ///
    /// # Safety
    /// The batches are valid ones.
    unsafe fn goes_with(&self, queue: vk::Queue, batches: &[vk::SubmitInfo<'_>]) -> bool {
        let is_for = |batch: &vk::SubmitInfo<'_>| {
            // SAFETY: the caller's promise.
            OwnCommands::is_any_in(self.own, unsafe { commands_of(batch) })
        };
        let is_own = || self.own.is_empty() || batches.iter().any(is_for);
        self.queue == queue && self.result.get().is_none() && !self.recordings.are_gone() && is_own()
    }
}

/// A queue whose submissions take along what is added to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splice {
    queue: vk::Queue,
    /// If `true`, submissions omit empty command buffers: [`probe`](super::probe) has found that
    /// wgpu submits as [`OwnCommands`] expects.
    leaves_out: bool,
}

impl Splice {
    /// Calls `submit`, and adds the waits and signals to the submission that contains one of `own`,
    /// or to the first one if `own` is empty. That submission leaves out the command buffers that
    /// `own` knows to be empty. Returns the result of `submit`, and that of `vkQueueSubmit`;
    /// `None` if there was no such submission.
    pub(crate) fn during<R>(
        self,
        waits: &[vk::SemaphoreSubmitInfo<'static>],
        signals: &[vk::SemaphoreSubmitInfo<'static>],
        own: &[OwnCommands],
        submit: impl FnOnce() -> R,
    ) -> (R, Option<vk::Result>) {
        let added = self.added(waits, signals, own);
        (added.during(submit), added.result.get())
    }

    /// Calls `submit`, and returns the number of command buffers in its submission with `own`.
    pub(super) fn count<R>(self, own: OwnCommands, submit: impl FnOnce() -> R) -> (R, usize) {
        let own = [own];
        let added = self.added(&[], &[], &own);
        (added.during(submit), added.count.get())
    }

    fn added<'a>(
        self,
        waits: &'a [vk::SemaphoreSubmitInfo<'static>],
        signals: &'a [vk::SemaphoreSubmitInfo<'static>],
        own: &'a [OwnCommands],
    ) -> Added<'a> {
        let Self { queue, leaves_out, .. } = self;
        let (recordings, result, count) = (Recordings::of(own), Cell::new(None), Cell::new(0));
        Added { queue, own, recordings, waits, signals, leaves_out, result, count }
    }

    /// The same queue, whose submissions leave out what is known to be empty.
    pub(super) fn leaving_out(self) -> Self {
        Self { leaves_out: true, ..self }
    }

    /// Calls `submit` so that barriers of these images in its first submission begin from whatever
    /// layout they are in.
    pub(crate) fn with_any_layout<R>(self, images: &Vec<vk::Image>, submit: impl FnOnce() -> R) -> R {
        layouts::during(images, submit)
    }

    /// Returns `true` if the thread's last recording, which is in `commands`, was begun through
    /// [`recordings`].
    pub(super) fn saw_begin(self, commands: vk::CommandBuffer) -> bool {
        recordings::was_begun_last(commands)
    }
}

impl Added<'_> {
    /// Calls `submit`, whose submissions may take this along.
    fn during<R>(&self, submit: impl FnOnce() -> R) -> R {
        /// Puts back what an outer submission has added, also when `submit` panics.
        struct Restore(*const Added<'static>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ADDED.set(self.0);
            }
        }
        let _restore = Restore(ADDED.replace(std::ptr::from_ref(self).cast()));
        submit()
    }
}

/// Loads a device's functions, with [`queue_submit`] in place of its own for the first queue of a
/// family, and with those of [`layouts`] and [`recordings`]. `None` if the program has two Vulkan
/// loaders, and there are devices of the other one.
///
/// # Errors
/// The name of a function that the device does not have.
///
/// # Safety
/// The device lives, and was made with one queue, of that family. [`forget`] is called before it is
/// destroyed.
pub(crate) unsafe fn load(
    entry: &ash::Entry,
    instance: &ash::Instance,
    device: vk::Device,
    family: u32,
) -> Result<Option<(ash::Device, Splice)>, &'static str> {
    const SUBMIT: &CStr = c"vkQueueSubmit";
    let get = instance.fp_v1_0().get_device_proc_addr;
    // SAFETY: the caller's promise; names are null-terminated.
    let function = |name: &CStr| unsafe { get(device, name.as_ptr()) };
    let own = function(SUBMIT).ok_or("vkQueueSubmit")?;
    // SAFETY: the function of that name has that signature.
    let own = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkQueueSubmit>(own) };
    // SAFETY: the caller's promise: a device of the instance lives.
    if !unsafe { loader::add(entry, instance.handle()) } {
        log::warn!(
            "there are devices of another Vulkan loader: on this one, frames take two submissions, and are handled as \
             on an adopted device"
        );
        return Ok(None);
    }
    let replaced = |name: &CStr| match name {
        name if name == SUBMIT => queue_submit as vk::PFN_vkQueueSubmit as *const c_void,
        name if name == c"vkCmdPipelineBarrier" => {
            layouts::pipeline_barrier as vk::PFN_vkCmdPipelineBarrier as *const c_void
        }
        name if name == c"vkBeginCommandBuffer" => {
            recordings::begin_command_buffer as vk::PFN_vkBeginCommandBuffer as *const c_void
        }
        name => function(name).map_or(std::ptr::null(), |function| function as *const c_void),
    };
    // SAFETY: each function is the device's own, or one of the same signature.
    let device = unsafe { ash::Device::load_with(replaced, device) };
    // SAFETY: the caller's promise: the device was made with a queue of that family.
    let queue = unsafe { device.get_device_queue(family, 0) };
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).push((queue, own));
    Ok(Some((device, Splice { queue, leaves_out: false })))
}

/// Forgets a queue whose device is to be destroyed.
pub(crate) fn forget(splice: Splice) {
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).retain(|(queue, _)| *queue != splice.queue);
    loader::remove();
}

/// `vkQueueSubmit`, with what the thread has added.
///
/// # Safety
/// As `vkQueueSubmit`.
unsafe extern "system" fn queue_submit(
    queue: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo<'_>,
    fence: vk::Fence,
) -> vk::Result {
    let own = {
        let queues = QUEUES.read().unwrap_or_else(PoisonError::into_inner);
        queues.iter().find(|(one, _)| *one == queue).map(|(_, own)| *own)
    };
    layouts::submitted();
    // Not a queue of a device that was loaded here, or of one that is destroyed.
    let Some(own) = own else { return vk::Result::ERROR_UNKNOWN };
    #[cfg(test)]
    tests::note_call(queue);
    #[cfg(test)]
    let own = tests::failing().unwrap_or(own);
    // SAFETY: VUID-vkQueueSubmit-pSubmits-parameter: there are `count` of them.
    let batches = unsafe { slice(batches, count as usize) };
    #[cfg(test)]
    tests::note_given(batches);
    #[cfg(test)]
    if let Some(stolen) = tests::steal(queue) {
        // SAFETY: the caller's promise; wrong on purpose.
        return unsafe { submit_with(own, queue, batches, fence, &stolen) };
    }
    // SAFETY: it is null, or of the `Added::during` that the thread is in, which sets it back
    // before what it points to goes. It is not used behind this call, which is inside of that.
    let added = unsafe { ADDED.get().as_ref() };
    // SAFETY: the caller's promise.
    let Some(added) = added.filter(|added| unsafe { added.goes_with(queue, batches) }) else {
        // SAFETY: the caller's promise.
        return unsafe { own(queue, count, batches.as_ptr(), fence) };
    };
    added.count.set(batches.iter().map(|batch| batch.command_buffer_count as usize).sum());
    // SAFETY: the caller's promise, of the batches; of what is added, that of `Splice::during`.
    let result = unsafe { submit_with(own, queue, batches, fence, added) };
    added.result.set(Some(result));
    result
}

#[cfg(test)]
pub(crate) mod tests;
