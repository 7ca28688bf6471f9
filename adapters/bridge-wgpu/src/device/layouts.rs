//! Corrections of image layouts that wgpu tracks incorrectly.
//!
//! After wgpu has refused a submission, it treats the command buffers before the one at fault as if
//! they had run, and records the states in which they leave their textures: its next barrier of
//! such a texture begins from a layout that the image is not in. On devices that this crate
//! creates, wgpu calls `vkCmdPipelineBarrier` through a function of this module. With it, a thread
//! can make its next submission begin [from any layout](during).
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::Cell;
use std::ptr;

use ash::vk;

use super::barriers::{self, Barriers};
use super::loader;

thread_local! {
    /// Images whose layout is unknown to the thread's next submission, set by the [`during`] that
    /// the thread is in; null outside of it, and after that submission.
    static UNKNOWN: Cell<*const Vec<vk::Image>> = const { Cell::new(ptr::null()) };
}

/// Calls `submit` so that barriers of these images in its first submission discard the contents and
/// wait for all earlier commands.
pub(super) fn during<R>(images: &Vec<vk::Image>, submit: impl FnOnce() -> R) -> R {
    /// Restores the previous value, also if `submit` panics.
    struct Restore(*const Vec<vk::Image>);
    impl Drop for Restore {
        fn drop(&mut self) {
            UNKNOWN.set(self.0);
        }
    }
    let _restore = Restore(UNKNOWN.replace(images));
    submit()
}

/// Notes that the thread submits: commands that it records from now on belong to other submissions,
/// such as those of callbacks.
pub(super) fn submitted() {
    UNKNOWN.set(ptr::null());
}

/// `vkCmdPipelineBarrier`, from an undefined layout for images whose layout the thread does not
/// know.
///
/// # Safety
/// The contract of `vkCmdPipelineBarrier`.
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
    super::splice::tests::note_barrier(commands, before, behind, image_count);
    barriers::note(Barriers { commands, counts: [global_count, buffer_count, image_count] });
    // Set before any device got this function.
    let Some(own) = loader::barrier() else { return };
    let unknown = UNKNOWN.get();
    let mut changed = Vec::new();
    if !unknown.is_null() && image_count > 0 {
        // SAFETY: `during` keeps the borrow until it resets the pointer, on this thread.
        let unknown = unsafe { &*unknown };
        // SAFETY: VUID-vkCmdPipelineBarrier-pImageMemoryBarriers-parameter: the array has
        // `image_count` elements.
        changed.extend_from_slice(unsafe { std::slice::from_raw_parts(images, image_count as usize) });
        for barrier in changed.iter_mut().filter(|barrier| unknown.contains(&barrier.image)) {
            barrier.old_layout = vk::ImageLayout::UNDEFINED;
            // The last use of the image is unknown.
            barrier.src_access_mask = vk::AccessFlags::MEMORY_WRITE;
            before = vk::PipelineStageFlags::ALL_COMMANDS;
        }
    }
    let images = if changed.is_empty() { images } else { changed.as_ptr() };
    // SAFETY: the caller upholds the contract. Any image may be transitioned from an undefined
    // layout, and a wait for all commands includes those that were named.
    unsafe {
        own(commands, before, behind, flags, global_count, globals, buffer_count, buffers, image_count, images);
    }
}
