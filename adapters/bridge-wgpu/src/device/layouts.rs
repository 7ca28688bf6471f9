//! Layouts of images of which wgpu has a wrong notion.
//!
//! Of a submission that wgpu refused it takes the command buffers in front of the one at fault for
//! done, and so in which states they leave their textures: its next barrier of such a texture
//! begins from a layout that the image is not in. On devices that this crate creates, wgpu calls
//! `vkCmdPipelineBarrier` through a function of this module, in which a thread may have its next
//! submission begin [from whatever layout](Layouts::during) there is.
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use ash::vk;

/// The loader of all devices whose barriers come here: a command buffer does not tell its device.
static LOADER: Loader = Loader { barrier: AtomicPtr::new(ptr::null_mut()), devices: Mutex::new(0) };

/// A loader of Vulkan's. It is unloaded with its last instance, and may be elsewhere when it is
/// loaded again.
struct Loader {
    /// Its `vkCmdPipelineBarrier`, which finds the driver's by the command buffer. Changes only
    /// while there is no device; null before the first.
    barrier: AtomicPtr<c_void>,
    devices: Mutex<usize>,
}

impl Loader {
    /// Adds a device. Returns `false` if there are devices of another loader.
    fn add(&self, barrier: vk::PFN_vkCmdPipelineBarrier) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let address = barrier as *mut c_void;
        if *devices == 0 {
            self.barrier.store(address, Ordering::Release);
        }
        let is_same = self.barrier.load(Ordering::Acquire) == address;
        *devices += usize::from(is_same);
        is_same
    }

    /// Removes a device that was added.
    fn remove(&self) {
        *self.devices.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }

    /// Its function; `None` before the first device.
    fn barrier(&self) -> Option<vk::PFN_vkCmdPipelineBarrier> {
        let address = self.barrier.load(Ordering::Acquire);
        // SAFETY: null, which is `None`, or a function of that type, by `add`.
        unsafe { std::mem::transmute::<*mut c_void, Option<vk::PFN_vkCmdPipelineBarrier>>(address) }
    }
}

thread_local! {
    /// Images whose layout the thread's next submission does not know, of the [`Layouts::during`]
    /// that the thread is in; null outside, and once that was submitted.
    static UNKNOWN: Cell<*const Vec<vk::Image>> = const { Cell::new(ptr::null()) };
}

/// A device whose barriers may begin from whatever layout there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layouts(());

impl Layouts {
    /// Calls `submit` so that barriers of these images in its first submission give their contents
    /// up, and wait for all that came before.
    pub(crate) fn during<R>(self, images: &Vec<vk::Image>, submit: impl FnOnce() -> R) -> R {
        /// Puts back what was there, also when `submit` panics.
        struct Restore(*const Vec<vk::Image>);
        impl Drop for Restore {
            fn drop(&mut self) {
                UNKNOWN.set(self.0);
            }
        }
        let _restore = Restore(UNKNOWN.replace(images));
        submit()
    }
}

/// The function that stands in for `vkCmdPipelineBarrier` on a device of the instance. `None` where
/// the program has two loaders, and devices of the other have it. [`forget`] takes it back.
///
/// # Safety
/// The instance lives.
pub(super) unsafe fn function(
    entry: &ash::Entry,
    instance: vk::Instance,
) -> Option<(Layouts, vk::PFN_vkCmdPipelineBarrier)> {
    // SAFETY: the caller's promise; the name is null-terminated.
    let own = unsafe { (entry.static_fn().get_instance_proc_addr)(instance, c"vkCmdPipelineBarrier".as_ptr()) }?;
    // SAFETY: the function of that name has that signature.
    let own = unsafe { std::mem::transmute::<unsafe extern "system" fn(), vk::PFN_vkCmdPipelineBarrier>(own) };
    if LOADER.add(own) {
        return Some((Layouts(()), pipeline_barrier));
    }
    log::warn!(
        "there are devices of another Vulkan loader: on this one, textures of frames that wgpu refuses are undefined \
         where the submitted commands use them"
    );
    None
}

/// Forgets a device that is to be destroyed.
pub(super) fn forget(_: Layouts) {
    LOADER.remove();
}

/// Says that the thread submits: what it records from now on is of other submissions, such as those
/// of callbacks.
pub(super) fn submitted() {
    UNKNOWN.set(ptr::null());
}

/// `vkCmdPipelineBarrier`, from whatever layout where the thread does not know it.
///
/// # Safety
/// As `vkCmdPipelineBarrier`.
#[allow(clippy::too_many_arguments)] // Vulkan's.
unsafe extern "system" fn pipeline_barrier(
    commands: vk::CommandBuffer,
    mut before: vk::PipelineStageFlags,
    behind: vk::PipelineStageFlags,
    flags: vk::DependencyFlags,
    global_count: u32,
    globals: *const vk::MemoryBarrier<'_>,
    buffer_count: u32,
    buffers: *const vk::BufferMemoryBarrier<'_>,
    image_count: u32,
    images: *const vk::ImageMemoryBarrier<'_>,
) {
    #[cfg(test)]
    super::splice::tests::note_barrier(commands);
    // It was set before the function was given to anybody.
    let Some(own) = LOADER.barrier() else { return };
    let unknown = UNKNOWN.get();
    let mut changed = Vec::new();
    if !unknown.is_null() && image_count > 0 {
        // SAFETY: `Layouts::during` borrows it until it takes the pointer back, on this thread.
        let unknown = unsafe { &*unknown };
        // SAFETY: VUID-vkCmdPipelineBarrier-pImageMemoryBarriers-parameter: there are as many.
        changed.extend_from_slice(unsafe { std::slice::from_raw_parts(images, image_count as usize) });
        for barrier in changed.iter_mut().filter(|barrier| unknown.contains(&barrier.image)) {
            barrier.old_layout = vk::ImageLayout::UNDEFINED;
            // Of what the image is used for last, nobody tells.
            barrier.src_access_mask = vk::AccessFlags::MEMORY_WRITE;
            before = vk::PipelineStageFlags::ALL_COMMANDS;
        }
    }
    let images = if changed.is_empty() { images } else { changed.as_ptr() };
    // SAFETY: the caller's promise. Any image may be taken from an undefined layout, and a wait for
    // all commands is one for those that were named.
    unsafe {
        own(commands, before, behind, flags, global_count, globals, buffer_count, buffers, image_count, images);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "system" fn elsewhere(
        _: vk::CommandBuffer,
        _: vk::PipelineStageFlags,
        _: vk::PipelineStageFlags,
        _: vk::DependencyFlags,
        _: u32,
        _: *const vk::MemoryBarrier<'_>,
        _: u32,
        _: *const vk::BufferMemoryBarrier<'_>,
        _: u32,
        _: *const vk::ImageMemoryBarrier<'_>,
    ) {
        unreachable!("never called");
    }

    /// A loader that was unloaded with its last device is another one when it is loaded again.
    #[test]
    fn the_loader_changes_where_no_device_has_it() {
        let loader = Loader { barrier: AtomicPtr::new(ptr::null_mut()), devices: Mutex::new(0) };
        let is = |one: vk::PFN_vkCmdPipelineBarrier| loader.barrier().is_some_and(|own| ptr::fn_addr_eq(own, one));
        assert!(loader.barrier().is_none());
        assert!(loader.add(pipeline_barrier) && loader.add(pipeline_barrier) && is(pipeline_barrier));
        assert!(!loader.add(elsewhere) && is(pipeline_barrier), "two loaders at once");
        loader.remove();
        assert!(!loader.add(elsewhere), "a device is left");
        loader.remove();
        assert!(loader.add(elsewhere) && is(elsewhere));
        assert!(!loader.add(pipeline_barrier));
    }
}
