//! Recording and submitting a reader's commands and waiting for them, in one call.
#![allow(unsafe_code)] // Recording and submitting.

use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;
use cuda_import::Texel;
use vk_export::OneTimeCommands;
use vk_export::ash::vk;

use super::render_read::RenderRead;
use crate::buffer::render::RenderBuffer;
use crate::buffer::spec::BufferSpec;
use crate::error::Result;
use crate::exchange::turn::once::SubmittedCommands;
use crate::exchange::turn::read_back::{HostCopy, require_readable};
use crate::image::render::RenderImage;
use crate::image::spec::ImageSpec;
use crate::resources::Resources;

impl<R: Resources> RenderRead<R> {
    /// Records commands that use the frame, submits them and blocks until they have run, for at
    /// most `limit`. This method is for examples, tests and tools, as
    /// [`RenderTurn::run_once`](crate::RenderTurn::run_once).
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`Error::Timeout`](crate::Error::Timeout): the commands may
    /// then still run, and their pool is kept until they have ended. After any other error they do
    /// not run: if the compute side fails meanwhile, this call blocks until they have ended.
    ///
    /// # Safety
    /// The recorded commands satisfy the Valid Usage of `vkQueueSubmit2` on the exchange's queue,
    /// and everything that they use lives until they have run: after
    /// [`Error::Timeout`](crate::Error::Timeout), forever.
    pub unsafe fn run_once(
        self,
        limit: Duration,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<()> {
        // SAFETY: upheld by the caller.
        unsafe { self.submit_once(record) }?.wait(limit)
    }

    /// The first half of [`run_once`](Self::run_once). On an error nothing was submitted.
    ///
    /// # Safety
    /// As [`run_once`](Self::run_once).
    unsafe fn submit_once(
        self,
        record: impl for<'t> FnOnce(vk::CommandBuffer, R::Render<'t>),
    ) -> Result<SubmittedCommands<R>> {
        let state = Arc::clone(&self.shared().state);
        let name = format!("{}: frame {}", state.name, self.frame());
        let acquired = |commands| {
            // SAFETY: recording, for the family of the turn's queue, outside a render pass, and
            // used by this thread only.
            unsafe { self.record_acquire(commands) };
            record(commands, self.resources());
        };
        // SAFETY: the exchange's queue is one of its device's; the rest is upheld by the caller.
        let commands = unsafe { OneTimeCommands::record(state.compute.device(), self.queue(), &name, acquired) }?;
        // SAFETY: they begin with the turn's barriers; alive until `SubmittedCommands::wait` has
        // seen them end, or forever. On an error nothing was submitted.
        let rendered = unsafe { self.submit(&[commands.as_raw()]) }?;
        Ok(SubmittedCommands::new(state, rendered.value(), commands))
    }
}

impl<T: Pod + Send + Sync> RenderRead<BufferSpec<T>> {
    /// Submits a copy of the buffer to the host, blocks until it has run, for at most `timeout`,
    /// and returns the elements. This method is for examples, tests and tools, as
    /// [`RenderTurn::read_back`](crate::RenderTurn::read_back).
    ///
    /// # Errors
    /// As [`RenderTurn::read_back`](crate::RenderTurn::read_back).
    pub fn read_back(self, timeout: Duration) -> Result<Vec<T>> {
        let source = self.resources();
        let state = &self.shared().state;
        require_readable(
            source.handover().accesses().allows_copies_from(),
            (self.frame(), &state.name),
            "`BufferAccess::TRANSFER_READ`",
        )?;
        let target = HostCopy::new(state.compute.device(), source.len())?;
        let copy = |commands, source: RenderBuffer<'_, T>| {
            // SAFETY: both buffers have `len` elements; the source is acquired, and copying is
            // among its accesses.
            unsafe { target.record_buffer(commands, &source) };
        };
        // SAFETY: the copy satisfies its Valid Usage, see above. `target` lives until the copy has
        // run, or forever; if nothing was submitted, it is freed at once.
        let submitted = unsafe { self.submit_once(copy) }?;
        target.finish(submitted, timeout)
    }
}

impl<T: Texel> RenderRead<ImageSpec<T>> {
    /// Submits a copy of the image to the host, blocks until it has run, for at most `timeout`, and
    /// returns the texels of the first mip level. This method is for examples, tests and tools, as
    /// [`RenderTurn::read_back`](crate::RenderTurn::read_back).
    ///
    /// # Errors
    /// As [`RenderTurn::read_back`](crate::RenderTurn::read_back).
    pub fn read_back(self, timeout: Duration) -> Result<Vec<T>> {
        let source = self.resources();
        let state = &self.shared().state;
        require_readable(
            source.accesses().allows_copies_from(),
            (self.frame(), &state.name),
            "`ImageAccess::TRANSFER_READ`",
        )?;
        let target = HostCopy::for_image(state.compute.device(), &source)?;
        let copy = |commands, source: RenderImage<'_>| {
            // SAFETY: there is room for the first level of all layers; the source is acquired, and
            // copying is among its accesses.
            unsafe { target.record_image(commands, &source) };
        };
        // SAFETY: the copy satisfies its Valid Usage, see above. `target` lives until the copy has
        // run, or forever; if nothing was submitted, it is freed at once.
        let submitted = unsafe { self.submit_once(copy) }?;
        target.finish(submitted, timeout)
    }
}
