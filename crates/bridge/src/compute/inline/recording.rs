//! Recording into an inline stream: by the bridge, or by a closure of the program's.
#![allow(unsafe_code)] // Recording.

use vk_export::ash::vk;

use crate::compute::inline::inside::Inside;
use crate::compute::inline::pending::Completed;
use crate::compute::inline::segment::{Barrier, Keep, Segment};
use crate::compute::inline::stream::{InlineStream, Inner};
use crate::error::Result;

impl InlineStream {
    /// Records what `record` records behind everything before, and a barrier behind it. `keep`
    /// lives until it has run. `record` calls nothing of the program's: a lock is held.
    ///
    /// # Safety
    /// The recorded commands keep their Valid Usage, outside a render pass, on a queue of
    /// [`queue_kind`](Self::queue_kind), and everything they use besides `keep` lives until they
    /// have run.
    pub(crate) unsafe fn record(
        &self,
        keep: impl IntoIterator<Item = Keep>,
        record: impl FnOnce(vk::CommandBuffer) -> Result<()>,
    ) -> Result<()> {
        let inner = &*self.0;
        inner.check_outside()?;
        let mut state = inner.state();
        let open = match state.open.take() {
            Some(open) => open,
            None => {
                drop(state);
                let fresh = inner.begin_segment()?;
                state = inner.state();
                // Another thread may have been faster.
                match state.open.take() {
                    Some(open) => {
                        state.idle.push(fresh);
                        open
                    }
                    None => fresh,
                }
            }
        };
        let commands = state.open.insert(open);
        commands.keep(keep);
        commands.note(&self.1);
        // Also behind what an error or a panic has left half recorded.
        let _barrier = Barrier { device: &inner.device, commands: commands.as_raw() };
        record(commands.as_raw())
    }

    /// [`record`](Self::record) with a closure of the program's, which may call anything: inside of
    /// it, what needs this stream is refused.
    ///
    /// No lock is held meanwhile: it records into a new segment, which comes behind what was
    /// recorded before the call and ahead of what is recorded once it has returned. What other
    /// threads record meanwhile is in another one.
    ///
    /// # Safety
    /// As [`record`](Self::record).
    pub(crate) unsafe fn record_with(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<()> {
        let inner = &*self.0;
        inner.check_outside()?;
        let mut segment = inner.begin_segment()?;
        segment.note(&self.1);
        let commands = segment.as_raw();
        let _own = Own { inner, segment: Some(segment) };
        let _inside = Inside::enter(&inner.recorders);
        // Also behind what a panic has left half recorded.
        let _barrier = Barrier { device: &inner.device, commands };
        record(commands);
        Ok(())
    }
}

impl Inner {
    /// A segment that is recording. It is made without a lock: a name that the driver refuses is
    /// told to the program's logger.
    fn begin_segment(&self) -> Result<Segment> {
        let (mut completed, idle) = {
            let mut state = self.state();
            let running = !state.running.is_empty();
            let completed = if running { state.reap(self.progress.value()?) } else { Completed::new() };
            (completed, state.idle.pop())
        };
        let mut commands = match idle.or_else(|| completed.pop()) {
            Some(commands) => commands,
            None => Segment::new(&self.device, self.queue()?)?,
        };
        commands.forget_kept();
        self.recycle(completed);
        // SAFETY: new, never submitted, or the submission that it was in has signaled `progress`
        // behind it.
        unsafe { commands.begin() }?;
        Ok(commands)
    }

    /// Lets go of what was used by all work that has completed, up to this value of `progress`.
    pub(super) fn reap(&self, reached: u64) {
        loop {
            let completed = self.state().reap(reached);
            if completed.is_empty() {
                return;
            }
            self.recycle(completed);
        }
    }

    /// Drops what completed work has used, which may call the program, without a lock.
    fn recycle(&self, mut completed: Completed) {
        completed.iter_mut().for_each(Segment::forget_kept);
        if !completed.is_empty() {
            self.state().idle.extend(completed);
        }
    }
}

/// A segment that a closure of the program's records into. Dropping it, which a panic does too,
/// puts it behind everything that was recorded so far; what is recorded next is in it as well.
struct Own<'a> {
    inner: &'a Inner,
    segment: Option<Segment>,
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        // The work from before the closure, and what other threads have recorded meanwhile, which
        // may come before or behind.
        let before = state.end_open();
        state.open = self.segment.take();
        drop(state);
        // Those whose work is lost are told when they end it.
        drop(before);
    }
}
