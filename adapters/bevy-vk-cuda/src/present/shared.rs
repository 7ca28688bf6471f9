//! Frames in memory that is shared with Bevy's device.
#![allow(unsafe_code)] // Submits copies.

use std::sync::{Arc, Weak};

use bridge::LatestReader;

use super::frame::{Present, PresentFrame};
use super::target::{Target, check_shape};
use crate::error::Result;
use crate::fault::Fault;
use crate::ring::{PLACES, Ring};
use crate::vulkan::copier::{Copier, Source};

/// Copies the newest frame on the bridge's queue into one of three copies, and from there, on
/// Bevy's queue, into Bevy's object.
///
/// Bevy's object stays the same, so that materials' bind groups stay valid.
pub(crate) struct SharedPresent<R: Target> {
    pub(crate) name: String,
    pub(crate) copier: Copier,
    pub(crate) places: Option<Places<R>>,
    pub(crate) ring: Ring,
    pub(crate) reader: LatestReader<R>,
    pub(crate) asset: R::Asset,
    /// Of a frame, and so of Bevy's object.
    pub(crate) shape: R::Shape,
    pub(crate) alive: Weak<()>,
    pub(crate) fault: Arc<Fault>,
    /// Bevy's object that has the shown frame.
    pub(crate) filled: Option<R::Id>,
}

/// wgpu's objects for the copies.
pub(crate) struct Places<R: Target> {
    all: [(R::Object, <R as Source>::Target); PLACES],
    /// The submission of Bevy's that has brought them to their state.
    ready_behind: u64,
}

impl<R: Target> SharedPresent<R> {
    /// Looks what has ended, and begins the next copy.
    fn copy(&mut self, done: u64) -> Result<()> {
        if self.copier.finished()? {
            self.ring.copied();
        }
        self.ring.done(done);
        // Before that, wgpu's own commands with them have not run.
        let Some(places) = self.places.as_ref().filter(|places| places.ready_behind <= done) else { return Ok(()) };
        let Some(index) = self.ring.free() else { return Ok(()) };
        let Some(turn) = self.reader.newest()? else { return Ok(()) };
        if !turn.is_new() {
            turn.skip();
            return Ok(());
        }
        let (_, target) = places.all[index];
        // SAFETY: the target was made like an object of Bevy's that was seen to be of a frame's
        // shape; it lives as long as `self`, which waits for the copy, or for ever. The ring gave
        // it: no copy is running, and the host has seen the end of Bevy's last submission that
        // reads it.
        unsafe { self.copier.submit(index, turn, target) }?;
        self.ring.copying(index);
        Ok(())
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
    fn present(&mut self, frame: &mut PresentFrame<'_>) -> Result<()> {
        let found = R::find(frame, self.asset);
        if let Some((_, object)) = &found {
            check_shape::<R>(&self.name, object, &self.shape)?;
        }
        if let (Some((_, object)), None) = (&found, &self.places) {
            let make = |_| R::like(frame, &self.name, object);
            let all: Vec<_> = (0..PLACES).map(make).collect::<Result<_>>()?;
            // Where nothing was recorded, nothing is waited for.
            let ready_behind = if frame.commands.is_some() { frame.serial } else { 0 };
            self.places = <[_; PLACES]>::try_from(all).ok().map(|all| Places { all, ready_behind });
        }
        self.copy(frame.done)?;
        let (Some((id, object)), Some(places)) = (found, &self.places) else { return Ok(()) };
        let newer = self.ring.switch();
        if let Some(shown) = self.ring.shown().filter(|_| newer || self.filled != Some(id)) {
            R::copy(frame.commands(), &places.all[shown].0, &object);
            self.ring.read(frame.serial);
            self.filled = Some(id);
        }
        Ok(())
    }

    fn is_dropped(&self) -> bool {
        self.alive.strong_count() == 0
    }

    fn fault(&self) -> &Fault {
        &self.fault
    }
}
