//! Copies that Vulkan commands make, in the command buffer of the hand-over.
#![allow(unsafe_code)] // Records copies.

use ash::vk;
use bridge::Resources;

use crate::error::Result;
use crate::mirror::Mirror;
use crate::own_commands::{OwnCommands, wide_barrier};
use crate::parts::Parts;
use crate::raw;
use crate::shared::{Filled, Flow, Shared};

impl<S: Shared> Mirror<S> {
    /// Returns `true` if [`record_raw`](Self::record_raw) can make the frame's copy. Before the
    /// first frame, wgpu's commands make it, because wgpu would clear objects that its own commands
    /// have not filled.
    pub(crate) fn copies_raw(&self) -> bool {
        S::COPIES_RAW && self.is_filled()
    }

    /// Records the acquire of a slot, the copy, and the release, in one command buffer, after one
    /// of wgpu's for its barriers, with which wgpu tracks the objects and keeps them alive. Where
    /// this crate makes the submission, that one is omitted, and a barrier of this crate's replaces
    /// wgpu's.
    pub(crate) fn record_raw<'r>(
        &self,
        resources: impl Fn() -> <S::Specs as Resources>::Render<'r>,
        parts: &mut Parts,
        acquire: impl FnOnce(vk::CommandBuffer),
        release: impl FnOnce(vk::CommandBuffer),
    ) -> Result<()> {
        let Self { gpu, name, flow, .. } = self;
        let mut objects = Filled::default();
        S::filled(&self.objects, &mut objects);
        // `COPIES_RAW` is for buffers only. They are in one command, each once.
        let ready = self.encode(|commands| self.transition(commands, objects.clone()))?;
        let replaces = gpu.splice().is_some_and(|splice| splice.leaves_out());
        let device = gpu.compute().device().as_raw();
        let (all, ()) = raw::record(gpu, name, |commands| {
            if replaces {
                parts.own.push(OwnCommands::in_place_of_transitions(commands));
                // SAFETY: an encoder of wgpu's, which has begun the command buffer.
                unsafe { wide_barrier(device, commands) };
            } else {
                parts.own.push(OwnCommands::behind_transitions(commands));
            }
            acquire(commands);
            // SAFETY: between the slot's barriers, outside of a pass. The objects are those of
            // wgpu's barriers in the same submission, which are made or replaced, which keeps them
            // alive, and which wgpu refuses if one has been destroyed.
            unsafe { S::copy_raw(*flow, device, commands, resources(), &mut objects.buffers.into_iter()) };
            release(commands);
        })?;
        match flow {
            Flow::In => parts.before.extend([ready, all]),
            Flow::Out => parts.behind.extend([ready, all]),
        }
        Ok(())
    }
}
