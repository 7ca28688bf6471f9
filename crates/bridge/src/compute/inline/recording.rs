//! Recording into an inline stream, by the bridge or by user closures.
#![allow(unsafe_code)] // Recording.

use vk_export::ash::vk;

use crate::compute::inline::pending::Completed;
use crate::compute::inline::recorders::RecordingGuard;
use crate::compute::inline::segment::{Barrier, Keep, Segment};
use crate::compute::inline::stream::{InlineStream, Inner};
use crate::error::Result;

impl InlineStream {
    /// Records the commands of `record` after all earlier work, followed by a barrier. `keep` lives
    /// until they have run. `record` must not call user code, since a lock is held.
    ///
    /// # Safety
    /// The recorded commands satisfy their Valid Usage, outside a render pass, on a queue of
    /// [`queue_kind`](Self::queue_kind), and everything that they use besides `keep` lives until
    /// they have run.
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
                // Another thread may have opened a segment in the meantime.
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
        commands.add_user(&self.1);
        // The barrier is also recorded if an error or a panic interrupts `record`.
        let _barrier = Barrier { device: &inner.device, commands: commands.as_raw() };
        record(commands.as_raw())
    }

    /// Like [`record`](Self::record), with a user closure, which may call anything. Calls inside
    /// the closure that need this stream return an error.
    ///
    /// No lock is held during the closure: it records into a new segment, which runs after the work
    /// recorded before this call and before the work recorded after it. Commands that other threads
    /// record during the closure go into another segment.
    ///
    /// # Safety
    /// The contract of [`record`](Self::record).
    pub(crate) unsafe fn record_with(&self, record: impl FnOnce(vk::CommandBuffer)) -> Result<()> {
        let inner = &*self.0;
        inner.check_outside()?;
        let mut segment = inner.begin_segment()?;
        segment.add_user(&self.1);
        let commands = segment.as_raw();
        let _own = ClosureSegment { inner, segment: Some(segment) };
        let _inside = RecordingGuard::enter(&inner.recorders);
        // The barrier is also recorded if `record` panics.
        let _barrier = Barrier { device: &inner.device, commands };
        record(commands);
        Ok(())
    }
}

impl Inner {
    /// Returns a segment that is recording. No lock is held while it is created: if the driver
    /// refuses its name, the program's logger is called.
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
        commands.release_kept();
        self.recycle(completed);
        // SAFETY: the segment is new, was never submitted, or its submission has signaled
        // `progress` after it.
        unsafe { commands.begin() }?;
        Ok(commands)
    }

    /// Drops the objects that completed work used, up to this value of `progress`.
    pub(super) fn reap(&self, reached: u64) {
        loop {
            let completed = self.state().reap(reached);
            if completed.is_empty() {
                return;
            }
            self.recycle(completed);
        }
    }

    /// Drops the objects that completed work used, which may call user code, without holding a
    /// lock.
    fn recycle(&self, mut completed: Completed) {
        completed.iter_mut().for_each(Segment::release_kept);
        if !completed.is_empty() {
            self.state().idle.extend(completed);
        }
    }
}

/// A segment that a user closure records into. Dropping it, also during a panic, places the segment
/// after all work recorded so far and leaves it open for the next work.
struct ClosureSegment<'a> {
    inner: &'a Inner,
    segment: Option<Segment>,
}

impl Drop for ClosureSegment<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        // Ends the work from before the closure, and the work that other threads have recorded in
        // the meantime, which may run before or after the closure's commands.
        let before = state.end_open();
        state.open = self.segment.take();
        drop(state);
        // On an error, the exchanges whose work is lost are notified when they end it. Dropped
        // after the lock is released.
        drop(before);
    }
}
