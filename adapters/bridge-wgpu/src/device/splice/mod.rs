//! Waits and signals in the same wgpu submission that contains a frame's commands.
//!
//! wgpu stages semaphores for its next submission, whichever thread makes it, so that a frame's
//! signal needs a separate submission. On devices that this crate creates, wgpu calls
//! `vkQueueSubmit` through a function of this module: the semaphores that a thread
//! [adds](Splice::during) become part of the next submission of this thread that contains the
//! corresponding command buffers, and the result of that submission is recorded. wgpu may make
//! other submissions before: after a refused submission, it does the work that the command buffers
//! had deferred, and submits pending writes for that.
//!
//! wgpu calls the function under its lock on submissions, so that the queue is externally
//! synchronized as before: the function replaces one driver call by one driver call. That call
//! omits command buffers that are known to be empty or replaced, see [`OwnCommands`].
//!
//! A command buffer identifies its submission only while it contains what was recorded into it, see
//! [`recordings`].
#![allow(unsafe_code)] // Stands in for a function of the driver's.

mod merged;
mod recordings;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::sync::{PoisonError, RwLock};

use ash::vk;

use super::{layouts, loader};
use crate::own_commands::OwnCommands;
use merged::{commands_of, slice, submit_with};
use recordings::Recordings;

/// The queues of devices that call [`queue_submit`], and the driver's function for each.
static QUEUES: RwLock<Vec<(vk::Queue, vk::PFN_vkQueueSubmit)>> = RwLock::new(Vec::new());

thread_local! {
    /// Semaphores for the next submission of this thread, owned by the current [`Splice::during`];
    /// null outside of one. Without a destructor, because a thread may still submit while it exits.
    static ADDED: Cell<*const Added<'static>> = const { Cell::new(std::ptr::null()) };
}

/// Waits and signals for a submission.
struct Added<'a> {
    queue: vk::Queue,
    /// Command buffers of the submission to add to; empty for any submission.
    own: &'a [OwnCommands],
    /// Tracks whether the command buffers in `own` still contain what this crate recorded.
    recordings: Recordings,
    waits: &'a [vk::SemaphoreSubmitInfo<'static>],
    signals: &'a [vk::SemaphoreSubmitInfo<'static>],
    /// If `true`, the submission omits the command buffers that `own` identifies.
    leaves_out: bool,
    /// The driver's result, after the semaphores were submitted.
    result: Cell<Option<vk::Result>>,
    /// Receives the command buffers that wgpu gave to that submission.
    given: Option<&'a RefCell<Vec<vk::CommandBuffer>>>,
}

impl Added<'_> {
    /// Returns `true` if a submission of these batches to the queue is the one to add to.
    ///
    /// # Safety
    /// The batches are valid.
    unsafe fn goes_with(&self, queue: vk::Queue, batches: &[vk::SubmitInfo<'_>]) -> bool {
        let is_for = |batch: &vk::SubmitInfo<'_>| {
            // SAFETY: the caller upholds the contract.
            OwnCommands::is_any_in(self.own, unsafe { commands_of(batch) })
        };
        let is_own = || self.own.is_empty() || batches.iter().any(is_for);
        self.queue == queue && self.result.get().is_none() && !self.recordings.are_gone() && is_own()
    }
}

/// A queue to whose submissions semaphores can be added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splice {
    queue: vk::Queue,
    /// If `true`, submissions omit command buffers: [`probe`](super::probe) has found that wgpu
    /// submits as [`OwnCommands`] expects.
    leaves_out: bool,
}

impl Splice {
    /// Calls `submit`, and adds the waits and signals to the submission that contains one of `own`,
    /// or to the first one if `own` is empty. That submission omits the command buffers that
    /// `own` identifies as empty or replaced. Returns the result of `submit`, and that of
    /// `vkQueueSubmit`; `None` if there was no such submission.
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

    /// Calls `submit`, and notes the command buffers of its submission with `own`, of which none is
    /// omitted.
    pub(super) fn noting<R>(
        self,
        given: &RefCell<Vec<vk::CommandBuffer>>,
        own: vk::CommandBuffer,
        submit: impl FnOnce() -> R,
    ) -> R {
        let own = [OwnCommands::new(own)];
        Added { given: Some(given), leaves_out: false, ..self.added(&[], &[], &own) }.during(submit)
    }

    fn added<'a>(
        self,
        waits: &'a [vk::SemaphoreSubmitInfo<'static>],
        signals: &'a [vk::SemaphoreSubmitInfo<'static>],
        own: &'a [OwnCommands],
    ) -> Added<'a> {
        let Self { queue, leaves_out, .. } = self;
        let (recordings, result) = (Recordings::of(own), Cell::new(None));
        Added { queue, own, recordings, waits, signals, leaves_out, result, given: None }
    }

    /// Returns the same queue, whose submissions omit command buffers that are known to be empty or
    /// replaced.
    pub(super) fn leaving_out(self) -> Self {
        Self { leaves_out: true, ..self }
    }

    /// Returns `true` if submissions omit the command buffers that [`OwnCommands`] identifies.
    pub(crate) fn leaves_out(self) -> bool {
        self.leaves_out
    }

    /// Calls `submit` so that barriers of these images in its first submission begin from any
    /// layout.
    pub(crate) fn with_any_layout<R>(self, images: &Vec<vk::Image>, submit: impl FnOnce() -> R) -> R {
        layouts::during(images, submit)
    }

    /// Returns `true` if the thread's last recording is in `commands` and was begun through
    /// [`recordings`].
    pub(super) fn saw_begin(self, commands: vk::CommandBuffer) -> bool {
        recordings::was_begun_last(commands)
    }
}

impl Added<'_> {
    /// Calls `submit`, one of whose submissions may include these semaphores.
    fn during<R>(&self, submit: impl FnOnce() -> R) -> R {
        /// Restores the semaphores of an outer submission, also if `submit` panics.
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

/// Loads a device's functions, with [`queue_submit`] in place of the driver's for the first queue
/// of a family, and with those of [`layouts`] and [`recordings`]. `None` if the program has two
/// Vulkan loaders and there are devices of the other one.
///
/// # Errors
/// The name of a function that the device lacks.
///
/// # Safety
/// The device is live, and was created with one queue, of that family. [`forget`] is called before
/// it is destroyed.
pub(crate) unsafe fn load(
    entry: &ash::Entry,
    instance: &ash::Instance,
    device: vk::Device,
    family: u32,
) -> Result<Option<(ash::Device, Splice)>, &'static str> {
    const SUBMIT: &CStr = c"vkQueueSubmit";
    let get = instance.fp_v1_0().get_device_proc_addr;
    // SAFETY: the caller upholds the contract; the names are null-terminated.
    let function = |name: &CStr| unsafe { get(device, name.as_ptr()) };
    let own = function(SUBMIT).ok_or("vkQueueSubmit")?;
    // SAFETY: the function with this name has this signature.
    let own = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkQueueSubmit>(own) };
    // SAFETY: the caller guarantees that a device of the instance is live.
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
    // SAFETY: each function is the device's own, or one with the same signature.
    let device = unsafe { ash::Device::load_with(replaced, device) };
    // SAFETY: the caller guarantees that the device was created with a queue of that family.
    let queue = unsafe { device.get_device_queue(family, 0) };
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).push((queue, own));
    Ok(Some((device, Splice { queue, leaves_out: false })))
}

/// Forgets a queue whose device will be destroyed.
pub(crate) fn forget(splice: Splice) {
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).retain(|(queue, _)| *queue != splice.queue);
    loader::remove();
}

/// `vkQueueSubmit`, with the semaphores that the thread has added.
///
/// # Safety
/// The contract of `vkQueueSubmit`.
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
    // The queue is not of a device that was loaded here, or its device is destroyed.
    let Some(own) = own else { return vk::Result::ERROR_UNKNOWN };
    #[cfg(test)]
    tests::note_call(queue);
    #[cfg(test)]
    let own = tests::failing().unwrap_or(own);
    // SAFETY: VUID-vkQueueSubmit-pSubmits-parameter: the array has `count` elements.
    let batches = unsafe { slice(batches, count as usize) };
    #[cfg(test)]
    tests::note_given(batches);
    #[cfg(test)]
    if let Some(stolen) = tests::steal(queue) {
        // SAFETY: the caller upholds the contract; wrong on purpose in tests.
        return unsafe { submit_with(own, queue, batches, fence, &stolen) };
    }
    // SAFETY: null, or set by the `Added::during` that the thread is in, which resets it before the
    // value that it points to is dropped. It is not used after this call, which is within that one.
    let added = unsafe { ADDED.get().as_ref() };
    // SAFETY: the caller upholds the contract.
    let Some(added) = added.filter(|added| unsafe { added.goes_with(queue, batches) }) else {
        // SAFETY: the caller upholds the contract.
        return unsafe { own(queue, count, batches.as_ptr(), fence) };
    };
    if let Some(given) = added.given {
        // SAFETY: the caller upholds the contract.
        let all = batches.iter().flat_map(|batch| unsafe { commands_of(batch) });
        given.borrow_mut().extend(all);
    }
    // SAFETY: the caller upholds the contract for the batches; the caller of `Splice::during` does
    // for the added semaphores.
    let result = unsafe { submit_with(own, queue, batches, fence, added) };
    added.result.set(Some(result));
    result
}

#[cfg(test)]
pub(crate) mod tests;
