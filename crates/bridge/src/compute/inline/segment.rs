//! Command buffers that kernels are recorded into.
#![allow(unsafe_code)] // Recording.

use std::sync::{Arc, Mutex, PoisonError};

use vk_export::ash::vk;
use vk_export::{Commands, ExportDevice, Queue};

use crate::error::Result;

/// An object that recorded work uses, kept alive until the work has completed.
pub(crate) type Keep = Arc<dyn Send + Sync>;

/// The error due to which recorded work of an exchange will never run, until the exchange has
/// reported it. Clones share the error.
#[derive(Clone, Debug, Default)]
pub(crate) struct LossMarker(Arc<Mutex<Option<vk_export::Error>>>);

impl LossMarker {
    pub(super) fn take(&self) -> Option<vk_export::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the error, if any, without clearing it.
    pub(crate) fn get(&self) -> Option<vk_export::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: vk_export::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A command buffer with kernels, and the objects that they use.
pub(super) struct Segment {
    commands: Commands,
    keep: Vec<Keep>,
    /// Error markers of the exchanges with work in this segment, while it is recording.
    users: Vec<LossMarker>,
}

impl Segment {
    /// Creates a segment that is not recording.
    pub(super) fn new(device: &ExportDevice, queue: &Queue) -> Result<Self> {
        // SAFETY: the stream got the queue from this device.
        Ok(Self { commands: unsafe { Commands::new(device, queue, "kernels") }?, keep: Vec::new(), users: Vec::new() })
    }

    pub(super) fn as_raw(&self) -> vk::CommandBuffer {
        self.commands.as_raw()
    }

    pub(super) fn keep(&mut self, used: impl IntoIterator<Item = Keep>) {
        self.keep.extend(used);
    }

    /// Drops the objects that the commands used. Called once the commands have completed.
    pub(super) fn release_kept(&mut self) {
        self.keep.clear();
    }

    /// Notes that an exchange has work in this segment.
    pub(super) fn add_user(&mut self, user: &LossMarker) {
        if !self.users.iter().any(|known| Arc::ptr_eq(&known.0, &user.0)) {
            self.users.push(user.clone());
        }
    }

    /// Begins recording.
    ///
    /// # Safety
    /// Previously recorded commands are not pending execution.
    pub(super) unsafe fn begin(&mut self) -> Result<()> {
        // SAFETY: the caller upholds the contract.
        Ok(unsafe { self.commands.begin() }?)
    }

    /// Ends recording.
    ///
    /// # Errors
    /// The error of the failed driver call. The work is lost in that case, and every exchange with
    /// work in the segment is notified.
    ///
    /// # Safety
    /// The segment is recording.
    pub(super) unsafe fn end(&mut self) -> Result<()> {
        // SAFETY: the caller upholds the contract.
        let ended = unsafe { self.commands.end() };
        for user in self.users.drain(..) {
            if let Err(error) = &ended {
                user.set(error.clone());
            }
        }
        Ok(ended?)
    }
}

/// Makes the writes of the `from` stages visible to the `to` stages, as on a CUDA stream.
///
/// # Safety
/// `commands` is recording on `device`, outside a render pass, for a queue that has the stages.
pub(crate) unsafe fn barrier(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    (from, from_access): (vk::PipelineStageFlags2, vk::AccessFlags2),
    (to, to_access): (vk::PipelineStageFlags2, vk::AccessFlags2),
) {
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(from)
        .src_access_mask(from_access)
        .dst_stage_mask(to)
        .dst_access_mask(to_access)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: the caller upholds the contract.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

/// Records a barrier after a piece of work when dropped, even if recording the work fails or
/// panics.
pub(super) struct Barrier<'a> {
    pub(super) device: &'a ExportDevice,
    pub(super) commands: vk::CommandBuffer,
}

impl Drop for Barrier<'_> {
    fn drop(&mut self) {
        let kernels = vk::PipelineStageFlags2::COMPUTE_SHADER;
        let access = vk::AccessFlags2::SHADER_READ | vk::AccessFlags2::SHADER_WRITE;
        // SAFETY: only `record` and `record_with` create this type, for a command buffer that has
        // been recording since it was taken.
        unsafe { barrier(self.device, self.commands, (kernels, access), (kernels, access)) };
    }
}
