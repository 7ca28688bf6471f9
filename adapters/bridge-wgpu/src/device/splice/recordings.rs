//! Detects that a command buffer no longer contains what this crate recorded into it.
//!
//! A handle identifies a command buffer, but not its contents: after wgpu has refused a submission,
//! it reuses the command buffers for other commands, and a callback may submit those before the
//! refused call returns. On devices that this crate creates, wgpu calls `vkBeginCommandBuffer`
//! through this module, which notes that the earlier recording is gone. The note is visible to all
//! threads, because one thread may record and another submit.
#![allow(unsafe_code)] // Stands in for a function of the driver's.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ash::vk;

use crate::device::loader;
use crate::own_commands::OwnCommands;

/// Command buffers that are about to be submitted, and whether one of the same submission has been
/// begun again in the meantime.
static EXPECTED: RwLock<Vec<(vk::CommandBuffer, Arc<AtomicBool>)>> = RwLock::new(Vec::new());

thread_local! {
    static LAST_BEGUN: Cell<vk::CommandBuffer> = const { Cell::new(vk::CommandBuffer::null()) };
}

/// The recordings of command buffers that will be submitted together.
pub(super) struct Recordings {
    /// `None` if there are no command buffers.
    are_gone: Option<Arc<AtomicBool>>,
}

impl Recordings {
    /// Tracks the recordings of `own`, which are complete and not submitted yet.
    pub(super) fn of(own: &[OwnCommands]) -> Self {
        let are_gone = (!own.is_empty()).then(Arc::<AtomicBool>::default);
        if let Some(are_gone) = &are_gone {
            let mut expected = EXPECTED.write().unwrap_or_else(PoisonError::into_inner);
            expected.extend(own.iter().map(|own| (own.commands(), Arc::clone(are_gone))));
        }
        Self { are_gone }
    }

    /// Returns `true` if one of the command buffers was begun again, which means that the
    /// submission of all was refused.
    pub(super) fn are_gone(&self) -> bool {
        // Relaxed is enough: a thread that submits the new recording has received it from the
        // thread that began it.
        self.are_gone.as_ref().is_some_and(|are_gone| are_gone.load(Ordering::Relaxed))
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        let Some(own) = &self.are_gone else { return };
        let mut expected = EXPECTED.write().unwrap_or_else(PoisonError::into_inner);
        expected.retain(|(_, are_gone)| !Arc::ptr_eq(are_gone, own));
    }
}

/// Returns `true` if this is the command buffer that the thread has begun last through this module.
pub(super) fn was_begun_last(commands: vk::CommandBuffer) -> bool {
    LAST_BEGUN.get() == commands
}

/// `vkBeginCommandBuffer`, which notes that the earlier recording is gone.
///
/// # Safety
/// The contract of `vkBeginCommandBuffer`.
pub(super) unsafe extern "system" fn begin_command_buffer(
    commands: vk::CommandBuffer,
    info: *const vk::CommandBufferBeginInfo<'_>,
) -> vk::Result {
    LAST_BEGUN.set(commands);
    let is_this = |(expected, _): &&(vk::CommandBuffer, _)| *expected == commands;
    let expected = EXPECTED.read().unwrap_or_else(PoisonError::into_inner);
    expected.iter().filter(is_this).for_each(|(_, are_gone)| are_gone.store(true, Ordering::Relaxed));
    drop(expected);
    // Set before any device got this function.
    let Some(own) = loader::begin() else { return vk::Result::ERROR_UNKNOWN };
    // SAFETY: the caller upholds the contract.
    unsafe { own(commands, info) }
}
