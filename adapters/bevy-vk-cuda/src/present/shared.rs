//! Frames in memory that is shared with Bevy's device.
#![allow(unsafe_code)] // Submits copies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bridge::{LatestReader, ash::vk};

use super::frame::{Present, PresentFrame};
use super::target::{Made, Target, check_object};
use crate::error::{Error, Result};
use crate::fault::{Fault, Step};
use crate::ring::{PLACES, Ring};
use crate::vulkan::copier::{Copier, Source};

/// Copies the newest frame on the bridge's queue into one of several intermediate copies, and from
/// there, on Bevy's queue, into Bevy's object.
///
/// Bevy's object stays the same, so that materials' bind groups stay valid.
pub(crate) struct SharedPresent<R: Target> {
    pub(crate) name: String,
    /// The Vulkan device of all fields below, which keep it alive.
    pub(crate) device: vk::Device,
    pub(crate) copier: Copier,
    pub(crate) places: Option<Places<R>>,
    pub(crate) ring: Ring,
    pub(crate) reader: LatestReader<R>,
    pub(crate) asset: R::Asset,
    /// The shape of a frame, and therefore of Bevy's object.
    pub(crate) shape: R::Shape,
    pub(crate) alive: Weak<()>,
    /// The writer, which keeps the exchange alive on its own.
    pub(crate) writing: Weak<()>,
    pub(crate) fault: Arc<Fault>,
    /// The number of frames that were copied to Bevy's object.
    pub(crate) presented: Arc<AtomicU64>,
    /// Bevy's object that contains the shown frame; `None` if Bevy has rewritten it.
    pub(crate) filled: Option<R::Id>,
    /// `true` if the shown frame has not been counted, because Bevy has not received it.
    pub(crate) uncounted: bool,
    /// Bevy's object that the recorded commands copy the shown frame to.
    pub(crate) recorded: Option<R::Id>,
}

/// The targets of the copies, with wgpu's objects for them.
pub(crate) struct Places<R: Target> {
    all: [Made<R>; PLACES],
    /// Bevy's submission that has brought them into their initial state.
    ready_behind: u64,
    /// Keeps the device alive until all of them are dropped.
    _device: wgpu::Device,
}

impl<R: Target> Places<R> {
    /// Creates all copies, and records the commands that they need before their first use.
    ///
    /// # Errors
    /// The error of the failed driver call. Nothing is recorded then.
    pub(super) fn new(frame: &mut PresentFrame<'_>, name: &str, object: &R::Object) -> Result<Self> {
        let like = || R::like(frame, name, object);
        let all: [_; PLACES] = [like()?, like()?, like()?, like()?, like()?];
        let recorded = R::settle(frame, name, all.each_ref().map(|(made, _)| made))?;
        // If nothing was recorded, nothing has to be waited for.
        let ready_behind = if recorded { frame.serial } else { 0 };
        Ok(Self { all, ready_behind, _device: frame.device.clone() })
    }
}

impl<R: Target> SharedPresent<R> {
    /// Checks which copies have ended, and begins the next one. `None` if there is no free place
    /// yet.
    fn copy(&mut self, done: u64) -> Result<Option<()>> {
        while self.copier.finished()? {
            self.ring.copied();
        }
        self.ring.done(done);
        // Before this submission has ended, wgpu's own commands on them may not have run.
        let Some(places) = self.places.as_ref().filter(|places| places.ready_behind <= done) else { return Ok(None) };
        let Some(index) = self.ring.free() else { return Ok(None) };
        // If the copy of a frame failed, the frame is still new. Without a new frame, nothing has
        // to be retried.
        let Some(turn) = self.reader.newest()? else { return Ok(Some(())) };
        if !turn.is_new() {
            turn.skip();
            return Ok(Some(()));
        }
        let target = places.all[index].1.raw();
        // SAFETY: the target was created like an object of Bevy's that was checked to have the
        // shape of a frame. It does not belong to wgpu and lives as long as `self`, which waits for
        // the copy or leaks the target. The ring returned its index: no copy into it is running,
        // and the host knows that Bevy's last submission which reads it has ended.
        unsafe { self.copier.submit(index, turn, target) }?;
        self.ring.copying(index);
        Ok(Some(()))
    }
}

impl<R: Target> Drop for SharedPresent<R> {
    fn drop(&mut self) {
        if !self.copier.end() {
            // The copy may still write to one of them.
            std::mem::forget(self.places.take());
        }
    }
}

impl<R: Target> Present for SharedPresent<R>
where
    <R as Source>::Target: Send + Sync,
{
    fn present(&mut self, frame: &mut PresentFrame<'_>) {
        // This check comes first: the code below records handles of one device into commands of
        // another (VUID-*-commonparent), or lets wgpu look up ids of another device.
        if frame.raw != Some(self.device) {
            self.fault.note::<()>(Step::Device, Err(Error::DeviceReplaced { object: self.name.clone() }));
            return;
        }
        // A missing asset cannot be checked.
        let found = R::find(frame, self.asset).filter(|(_, object)| {
            let checked = check_object::<R>(frame, &self.name, object, &self.shape);
            self.fault.note(Step::Asset, checked).is_some()
        });
        if let (Some((_, object)), None) = (&found, &self.places) {
            self.places = self.fault.note(Step::Memory, Places::new(frame, &self.name, object));
        }
        if let Some(copied) = self.copy(frame.done).transpose() {
            self.fault.note(Step::Copy, copied);
        }
        if R::is_rewritten(frame, self.asset) {
            self.filled = None;
        }
        // Even after a failure, an object that Bevy has recreated or rewritten receives the last
        // complete frame.
        let (Some((id, object)), Some(places)) = (found, &self.places) else { return };
        self.uncounted |= self.ring.switch();
        if let Some(shown) = self.ring.shown().filter(|_| self.uncounted || self.filled != Some(id)) {
            let (from, kept) = &places.all[shown];
            R::copy(frame.commands(), from, &object);
            frame.kept.push(Arc::clone(kept) as _);
            self.recorded = Some(id);
        }
    }

    fn submitted(&mut self, frame: &mut PresentFrame<'_>, accepted: bool) {
        // Commands of an earlier frame have brought these copies into their initial state, unless
        // the submission is that of this frame.
        let made = self.places.take_if(|places| places.ready_behind == frame.serial && !accepted);
        if let Some(made) = made {
            frame.kept.extend(made.all.into_iter().map(|(_, kept)| kept as _));
        }
        let Some(id) = self.recorded.take() else { return };
        // Also noted if wgpu has reported an error: another cause than these commands is possible.
        self.ring.read(frame.serial);
        if accepted {
            self.fault.note(Step::Submit, Ok(()));
            self.filled = Some(id);
            self.presented.fetch_add(std::mem::take(&mut self.uncounted).into(), Ordering::Relaxed);
        }
    }

    fn is_dropped(&self) -> bool {
        self.alive.strong_count() == 0
    }

    fn has_ended(&self) -> bool {
        // A failed frame has no point to wait for, but may still be running. If a side is lost,
        // nothing is running.
        let computes = || matches!(self.reader.compute().is_idle(), Ok(false));
        !self.copier.is_running() && (self.writing.strong_count() > 0 || !computes())
    }

    fn device(&self) -> Option<vk::Device> {
        Some(self.device)
    }

    fn fault(&self) -> &Fault {
        &self.fault
    }
}
