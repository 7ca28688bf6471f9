//! Whether what was recorded into a command buffer is still in it.
//!
//! A handle names a command buffer, and not what is recorded in it: wgpu uses the command buffers
//! of a submission that it refused for other commands, and may submit those before the refused call
//! has returned, in a callback. On devices that this crate creates, wgpu calls
//! `vkBeginCommandBuffer` through a function of this module, which notes that a recording is gone.
//! It does so for all threads: the one that records may be another one than the one that submits.
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use ash::vk;

use crate::device::loader;
use crate::own_commands::OwnCommands;

/// Command buffers that are about to be submitted, and whether one of the same submission was begun
/// again meanwhile.
static EXPECTED: RwLock<Vec<(vk::CommandBuffer, Arc<AtomicBool>)>> = RwLock::new(Vec::new());

thread_local! {
    static LAST_BEGUN: Cell<vk::CommandBuffer> = const { Cell::new(vk::CommandBuffer::null()) };
}

/// The recordings of command buffers that are to be submitted together.
pub(super) struct Recordings {
    are_gone: Arc<AtomicBool>,
}

impl Recordings {
    /// Those of `own`, which were made, and not submitted yet.
    pub(super) fn of(own: &[OwnCommands]) -> Self {
        let are_gone = Arc::default();
        if !own.is_empty() {
            let mut expected = EXPECTED.write().unwrap_or_else(PoisonError::into_inner);
            expected.extend(own.iter().map(|own| (own.commands(), Arc::clone(&are_gone))));
        }
        Self { are_gone }
    }

    /// Returns `true` if one of the command buffers was begun again: the submission of all was
    /// refused.
    pub(super) fn are_gone(&self) -> bool {
        // Whoever submits what was recorded instead has that from the thread that began it.
        self.are_gone.load(Ordering::Relaxed)
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        let of_this = |(_, are_gone): &(_, Arc<AtomicBool>)| Arc::ptr_eq(are_gone, &self.are_gone);
        if !read().iter().any(of_this) {
            return;
        }
        EXPECTED.write().unwrap_or_else(PoisonError::into_inner).retain(|one| !of_this(one));
    }
}

fn read() -> RwLockReadGuard<'static, Vec<(vk::CommandBuffer, Arc<AtomicBool>)>> {
    EXPECTED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Returns `true` if this is the command buffer that the thread has begun last, as far as this
/// module was called.
pub(super) fn was_begun_last(commands: vk::CommandBuffer) -> bool {
    LAST_BEGUN.get() == commands
}

/// `vkBeginCommandBuffer`, which notes that what was recorded before is gone.
///
/// # Safety
/// As `vkBeginCommandBuffer`.
pub(super) unsafe extern "system" fn begin_command_buffer(
    commands: vk::CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    LAST_BEGUN.set(commands);
    let is_this = |(expected, _): &&(vk::CommandBuffer, _)| *expected == commands;
    read().iter().filter(is_this).for_each(|(_, are_gone)| are_gone.store(true, Ordering::Relaxed));
    // It was set before the function was given to anybody.
    let Some(own) = loader::begin() else { return vk::Result::ERROR_UNKNOWN };
    // SAFETY: the caller's promise.
    unsafe { own(commands, info) }
}
