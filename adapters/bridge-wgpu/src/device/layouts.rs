//! Layouts of images of which wgpu has a wrong notion.
//!
//! Of a submission that wgpu refused it takes the command buffers in front of the one at fault for
//! done, and so in which states they leave their textures: its next barrier of such a texture
//! begins from a layout that the image is not in. On devices that this crate creates, wgpu calls
//! `vkCmdPipelineBarrier` through a function of this module, in which a thread may have its next
//! submission begin [from whatever layout](during) there is.
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::Cell;
use std::ptr;

use ash::vk;

use super::loader;

thread_local! {
    /// Images whose layout the thread's next submission does not know, of the [`during`] that
    /// the thread is in; null outside, and once that was submitted.
    static UNKNOWN: Cell<*const Vec<vk::Image>> = const { Cell::new(ptr::null()) };
}

/// Calls `submit` so that barriers of these images in its first submission give their contents up,
/// and wait for all that came before.
pub(super) fn during<R>(images: &Vec<vk::Image>, submit: impl FnOnce() -> R) -> R {
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
pub(super) unsafe extern "system" fn pipeline_barrier(
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
    let Some(own) = loader::barrier() else { return };
    let unknown = UNKNOWN.get();
    let mut changed = Vec::new();
    if !unknown.is_null() && image_count > 0 {
        // SAFETY: `during` borrows it until it takes the pointer back, on this thread.
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
