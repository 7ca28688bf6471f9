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
//! before: the function makes one call of the driver's in place of one.
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_void};
use std::sync::{PoisonError, RwLock};

use ash::vk;

use super::layouts::{self, Layouts};

/// The queues of devices that call [`queue_submit`], and the driver's own function.
static QUEUES: RwLock<Vec<(vk::Queue, vk::PFN_vkQueueSubmit)>> = RwLock::new(Vec::new());

thread_local! {
    /// Semaphores for the next submission of this thread, owned by the [`Splice::during`] that it
    /// is in; null outside of one. Without a destructor, since a thread that ends may still submit.
    static ADDED: Cell<*const RefCell<Added>> = const { Cell::new(std::ptr::null()) };
}

/// Waits and signals for a submission.
struct Added {
    queue: vk::Queue,
    /// A command buffer of the submission that takes them along; null where any does.
    own: vk::CommandBuffer,
    waits: Vec<Semaphore>,
    signals: Vec<Semaphore>,
    /// The driver's answer, once it was taken along.
    result: Option<vk::Result>,
}

/// A timeline and a value of it.
#[derive(Debug, Clone, Copy)]
struct Semaphore {
    raw: vk::Semaphore,
    value: u64,
}

impl From<&vk::SemaphoreSubmitInfo<'_>> for Semaphore {
    fn from(info: &vk::SemaphoreSubmitInfo<'_>) -> Self {
        Self { raw: info.semaphore, value: info.value }
    }
}

/// A queue whose submissions take along what is added to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splice {
    queue: vk::Queue,
    layouts: Option<Layouts>,
}

impl Splice {
    /// Calls `submit` so that its submission with the command buffer `own` waits and signals as
    /// well; its first one where there is none. Gives its result, and the driver's answer; `None`
    /// where there was no such submission.
    pub(crate) fn during<R>(
        self,
        waits: &[vk::SemaphoreSubmitInfo<'_>],
        signals: &[vk::SemaphoreSubmitInfo<'_>],
        own: Option<vk::CommandBuffer>,
        submit: impl FnOnce() -> R,
    ) -> (R, Option<vk::Result>) {
        /// Puts back what an outer submission has added, also when `submit` panics.
        struct Restore(*const RefCell<Added>);
        impl Drop for Restore {
            fn drop(&mut self) {
                ADDED.set(self.0);
            }
        }
        let (waits, signals) = (waits.iter().map(Into::into).collect(), signals.iter().map(Into::into).collect());
        let added =
            RefCell::new(Added { queue: self.queue, own: own.unwrap_or_default(), waits, signals, result: None });
        let restore = Restore(ADDED.replace(&raw const added));
        let result = submit();
        drop(restore);
        (result, added.into_inner().result)
    }

    /// Returns the barriers that may begin from any layout, if the device has them.
    pub(crate) fn layouts(self) -> Option<Layouts> {
        self.layouts
    }
}

/// Calls `with` with the semaphores for the next submission of this thread, if there are any.
fn added<R>(with: impl FnOnce(&mut Added) -> R) -> Option<R> {
    // SAFETY: it is null, or of the thread's own `Splice::during`, which sets it back before what
    // it points to goes.
    let added = unsafe { ADDED.get().as_ref() }?;
    Some(with(&mut added.borrow_mut()))
}

/// Loads a device's functions, with [`queue_submit`] in place of its own for the first queue of a
/// family, and with barriers of [`Layouts`]. `None` where the device has no such function.
///
/// # Safety
/// The device lives, and was made with one queue, of that family. [`forget`] is called before it is
/// destroyed.
pub(crate) unsafe fn load(
    entry: &ash::Entry,
    instance: &ash::Instance,
    device: vk::Device,
    family: u32,
) -> Option<(ash::Device, Splice)> {
    let get = instance.fp_v1_0().get_device_proc_addr;
    // SAFETY: the caller's promise; names are null-terminated.
    let function = |name: &CStr| unsafe { get(device, name.as_ptr()) };
    let own = function(c"vkQueueSubmit")?;
    // SAFETY: the function of that name has that signature.
    let own = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkQueueSubmit>(own) };
    // SAFETY: the caller's promise: a device of the instance lives.
    let (layouts, barrier) = unsafe { layouts::function(entry, instance.handle()) }.unzip();
    let replaced = |name: &CStr| match (name, barrier) {
        (name, _) if name == c"vkQueueSubmit" => queue_submit as vk::PFN_vkQueueSubmit as *const c_void,
        (name, Some(barrier)) if name == c"vkCmdPipelineBarrier" => barrier as *const c_void,
        (name, _) => function(name).map_or(std::ptr::null(), |function| function as *const c_void),
    };
    // SAFETY: each function is the device's own, or one of the same signature.
    let device = unsafe { ash::Device::load_with(replaced, device) };
    // SAFETY: the caller's promise: the device was made with a queue of that family.
    let queue = unsafe { device.get_device_queue(family, 0) };
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).push((queue, own));
    Some((device, Splice { queue, layouts }))
}

/// Forgets a queue whose device is to be destroyed.
pub(crate) fn forget(splice: Splice) {
    QUEUES.write().unwrap_or_else(PoisonError::into_inner).retain(|(queue, _)| *queue != splice.queue);
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
    let batches = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(batches, count as usize) } };
    // SAFETY: the caller's promise.
    let Some(taken) = (unsafe { take(queue, batches) }) else {
        // SAFETY: the caller's promise.
        return unsafe { own(queue, count, batches.as_ptr(), fence) };
    };
    // SAFETY: the caller's promise, of the batches; of what is added, that of `Splice::during`.
    let result = unsafe { submit_with(own, queue, batches, fence, &taken) };
    added(|added| added.result = Some(result));
    result
}

/// Takes the semaphores that this thread has added for a submission of these batches to the queue.
/// Returns `None` if there are none, or an earlier submission has taken them.
///
/// # Safety
/// The batches are valid ones.
unsafe fn take(queue: vk::Queue, batches: &[vk::SubmitInfo<'_>]) -> Option<Added> {
    #[cfg(test)]
    if let Some(stolen) = tests::steal(queue) {
        return Some(stolen);
    }
    let taken = |added: &mut Added| {
        let (waits, signals) = (std::mem::take(&mut added.waits), std::mem::take(&mut added.signals));
        Added { queue, own: added.own, waits, signals, result: None }
    };
    let is_for = |batch: &vk::SubmitInfo<'_>, own| {
        // SAFETY: the caller's promise: as many as it says.
        unsafe { copied(batch.p_command_buffers, batch.command_buffer_count as usize) }.contains(&own)
    };
    let is_own = |own| own == vk::CommandBuffer::null() || batches.iter().any(|batch| is_for(batch, own));
    added(|added| {
        let takes = added.queue == queue && added.result.is_none() && is_own(added.own);
        takes.then(|| taken(added))
    })
    .flatten()
}

/// Submits with waits and signals more: in the batch where there is one, whose semaphores are
/// known, else in batches of their own in front of all and behind them.
///
/// # Safety
/// As `vkQueueSubmit`; the semaphores are timelines of the device and live until the queue has
/// reached them.
unsafe fn submit_with(
    own: vk::PFN_vkQueueSubmit,
    queue: vk::Queue,
    batches: &[vk::SubmitInfo<'_>],
    fence: vk::Fence,
    added: &Added,
) -> vk::Result {
    let merged = match batches {
        // SAFETY: the caller's promise.
        [batch] => unsafe { Merged::of(batch, added) },
        _ => None,
    };
    if let Some(merged) = &merged {
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&merged.waits.values)
            .signal_semaphore_values(&merged.signals.values);
        let mut batch = merged.batch;
        // Its values, which are among the merged ones.
        batch.p_next = std::ptr::null();
        let batch = batch
            .wait_semaphores(&merged.waits.raw)
            .wait_dst_stage_mask(&merged.stages)
            .signal_semaphores(&merged.signals.raw)
            .push_next(&mut values);
        // SAFETY: the batch is the caller's with waits and signals more, and their values.
        return unsafe { own(queue, 1, &batch, fence) };
    }
    let (waits, signals) = (List::of(&added.waits), List::of(&added.signals));
    let stages = vec![vk::PipelineStageFlags::ALL_COMMANDS; waits.raw.len()];
    let mut wait_values = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&waits.values);
    let mut signal_values = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&signals.values);
    let first = vk::SubmitInfo::default().wait_semaphores(&waits.raw).wait_dst_stage_mask(&stages);
    let last = vk::SubmitInfo::default().signal_semaphores(&signals.raw);
    let mut all = vec![first.push_next(&mut wait_values)];
    all.extend_from_slice(batches);
    all.push(last.push_next(&mut signal_values));
    // SAFETY: a wait covers all that follows on the queue, a signal all that comes before.
    unsafe { own(queue, all.len() as u32, all.as_ptr(), fence) }
}

/// Semaphores, and a value for each.
#[derive(Debug, Clone, Default)]
struct List {
    raw: Vec<vk::Semaphore>,
    values: Vec<u64>,
}

impl List {
    fn of(semaphores: &[Semaphore]) -> Self {
        let mut list = Self::default();
        list.extend(semaphores);
        list
    }

    fn extend(&mut self, semaphores: &[Semaphore]) {
        // Values of binary semaphores are ignored.
        self.values.resize(self.raw.len(), 0);
        self.raw.extend(semaphores.iter().map(|semaphore| semaphore.raw));
        self.values.extend(semaphores.iter().map(|semaphore| semaphore.value));
    }
}

/// A batch with semaphores more.
struct Merged<'a> {
    batch: vk::SubmitInfo<'a>,
    waits: List,
    stages: Vec<vk::PipelineStageFlags>,
    signals: List,
}

impl<'a> Merged<'a> {
    /// `None` where more than the values of its timelines is chained to the batch.
    ///
    /// # Safety
    /// The batch is a valid one.
    unsafe fn of(batch: &vk::SubmitInfo<'a>, added: &Added) -> Option<Self> {
        let (mut waits, mut signals) = (List::default(), List::default());
        let (waited, signalled) = (batch.wait_semaphore_count as usize, batch.signal_semaphore_count as usize);
        // SAFETY: the caller's promise: as many as it says.
        waits.raw = unsafe { copied(batch.p_wait_semaphores, waited) };
        // SAFETY: as above.
        signals.raw = unsafe { copied(batch.p_signal_semaphores, signalled) };
        // SAFETY: as above: one for each wait.
        let mut stages = unsafe { copied(batch.p_wait_dst_stage_mask, waited) };
        if !batch.p_next.is_null() {
            let values = batch.p_next.cast::<vk::TimelineSemaphoreSubmitInfo<'_>>();
            // SAFETY: each structure of a chain begins with its type.
            let kind = unsafe { (*values).s_type };
            if kind != vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO {
                return None;
            }
            // SAFETY: it is one, by its type.
            let values = unsafe { &*values };
            if !values.p_next.is_null() {
                return None;
            }
            // SAFETY: as many as it says.
            waits.values =
                unsafe { copied(values.p_wait_semaphore_values, values.wait_semaphore_value_count as usize) };
            signals.values =
                // SAFETY: as above.
                unsafe { copied(values.p_signal_semaphore_values, values.signal_semaphore_value_count as usize) };
        }
        waits.extend(&added.waits);
        signals.extend(&added.signals);
        stages.resize(waits.raw.len(), vk::PipelineStageFlags::ALL_COMMANDS);
        Some(Self { batch: *batch, waits, stages, signals })
    }
}

/// A copy of an array of Vulkan's.
///
/// # Safety
/// There are `count` elements at `first`, which may be null if that is 0.
unsafe fn copied<T: Copy>(first: *const T, count: usize) -> Vec<T> {
    match count {
        0 => Vec::new(),
        // SAFETY: the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(first, count) }.to_vec(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
