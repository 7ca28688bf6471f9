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

/// Copies the newest frame on the bridge's queue into one of its copies, and from there, on
/// Bevy's queue, into Bevy's object.
///
/// Bevy's object stays the same, so that materials' bind groups stay valid.
pub(crate) struct SharedPresent<R: Target> {
    pub(crate) name: String,
    /// The Vulkan device of all that follows, which keeps it alive.
    pub(crate) device: vk::Device,
    pub(crate) copier: Copier,
    pub(crate) places: Option<Places<R>>,
    pub(crate) ring: Ring,
    pub(crate) reader: LatestReader<R>,
    pub(crate) asset: R::Asset,
    /// Of a frame, and so of Bevy's object.
    pub(crate) shape: R::Shape,
    pub(crate) alive: Weak<()>,
    /// The writer, which keeps the exchange itself while it is alive.
    pub(crate) writing: Weak<()>,
    pub(crate) fault: Arc<Fault>,
    /// The number of frames that Bevy's object has been given.
    pub(crate) presented: Arc<AtomicU64>,
    /// Bevy's object that has the shown frame.
    pub(crate) filled: Option<R::Id>,
}

/// What is copied into, and wgpu's objects for it.
pub(crate) struct Places<R: Target> {
    all: [Made<R>; PLACES],
    /// The submission of Bevy's that has brought them to their state.
    ready_behind: u64,
    /// Keeps the device until all of them are dropped.
    _device: wgpu::Device,
}

impl<R: Target> Places<R> {
    /// Makes all copies, and records what they need before their first use.
    ///
    /// # Errors
    /// The error of the failed driver call. Nothing is recorded then.
    pub(super) fn new(frame: &mut PresentFrame<'_>, name: &str, object: &R::Object) -> Result<Self> {
        let like = || R::like(frame, name, object);
        let all: [_; PLACES] = [like()?, like()?, like()?, like()?, like()?];
        let recorded = R::settle(frame, name, all.each_ref().map(|(made, _)| made))?;
        // Where nothing was recorded, nothing is waited for.
        let ready_behind = if recorded { frame.serial } else { 0 };
        Ok(Self { all, ready_behind, _device: frame.device.clone() })
    }
}

impl<R: Target> SharedPresent<R> {
    /// Looks what has ended, and begins the next copy. `None` where there is no place for one yet.
    fn copy(&mut self, done: u64) -> Result<Option<()>> {
        while self.copier.finished()? {
            self.ring.copied();
        }
        self.ring.done(done);
        // Before that, wgpu's own commands with them have not run.
        let Some(places) = self.places.as_ref().filter(|places| places.ready_behind <= done) else { return Ok(None) };
        let Some(index) = self.ring.free() else { return Ok(None) };
        // A frame of which the copy has failed is new still: without one, nothing is left to try.
        let Some(turn) = self.reader.newest()? else { return Ok(Some(())) };
        if !turn.is_new() {
            turn.skip();
            return Ok(Some(()));
        }
        let target = places.all[index].1.raw();
        // SAFETY: the target was made like an object of Bevy's that was seen to be of a frame's
        // shape; it is not wgpu's, and lives as long as `self`, which waits for the copy, or for
        // ever. The ring gave it: no copy into it is running, and the host has seen the end of
        // Bevy's last submission that reads it.
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
        // Before anything else: what follows records handles of one device into commands of
        // another's (VUID-*-commonparent), or has wgpu look its ids up among another's.
        if frame.raw != Some(self.device) {
            self.fault.note::<()>(Step::Device, Err(Error::DeviceReplaced { object: self.name.clone() }));
            return;
        }
        // Nothing is known of an asset that is missing.
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
        // Whatever has failed: an object that Bevy has made anew gets the last whole frame.
        let (Some((id, object)), Some(places)) = (found, &self.places) else { return };
        let newer = self.ring.switch();
        if let Some(shown) = self.ring.shown().filter(|_| newer || self.filled != Some(id)) {
            let (from, kept) = &places.all[shown];
            R::copy(frame.commands(), from, &object);
            frame.kept.push(Arc::clone(kept) as _);
            self.ring.read(frame.serial);
            self.filled = Some(id);
            self.presented.fetch_add(newer.into(), Ordering::Relaxed);
        }
    }

    fn is_dropped(&self) -> bool {
        self.alive.strong_count() == 0
    }

    fn has_ended(&self) -> bool {
        // A frame that failed has no end to wait for, but may run still. Where a side is lost,
        // nothing runs any more.
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
