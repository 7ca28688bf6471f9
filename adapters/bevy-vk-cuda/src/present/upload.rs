//! Frames that the CPU computed in ordinary memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ash::vk;

use super::checked::{checked, refused};
use super::frame::{Present, PresentFrame};
use super::target::{Target, check_object};
use crate::fault::{Fault, Step};
use crate::upload::Newest;

/// Uploads the newest frame.
pub(crate) struct UploadPresent<R: Target> {
    pub(crate) name: String,
    pub(crate) newest: Newest<R::Item>,
    pub(crate) asset: R::Asset,
    /// The shape of a frame, and therefore of Bevy's object.
    pub(crate) shape: R::Shape,
    pub(crate) alive: Weak<()>,
    pub(crate) fault: Arc<Fault>,
    /// The number of frames that were uploaded to Bevy's object.
    pub(crate) presented: Arc<AtomicU64>,
    /// The newest frame, because Bevy may create or write its object again.
    pub(crate) shown: Option<Shown<R>>,
}

/// A frame, and the object that it was uploaded to.
pub(crate) struct Shown<R: Target> {
    items: Vec<R::Item>,
    /// `None` if it was uploaded to none, or if Bevy has rewritten it.
    filled: Option<R::Id>,
    /// `true` if it was uploaded to any object.
    counted: bool,
}

impl<R: Target> Present for UploadPresent<R> {
    fn present(&mut self, frame: &mut PresentFrame<'_>) {
        let Some((id, object)) = R::find(frame, self.asset) else { return };
        if self.fault.note(Step::Asset, check_object::<R>(frame, &self.name, &object, &self.shape)).is_none() {
            return;
        }
        if let Some(items) = self.newest.take()
            && let Some(old) = self.shown.replace(Shown { items, filled: None, counted: false })
        {
            self.newest.give_back(old.items);
        }
        let Some(shown) = &mut self.shown else { return };
        if R::is_rewritten(frame, self.asset) {
            shown.filled = None;
        }
        if shown.filled == Some(id) {
            return;
        }
        let uploaded = checked(frame.device, || R::upload(frame.queue, &shown.items, &object));
        let uploaded = uploaded.map_err(|error| refused(&self.name, &error));
        if self.fault.note(Step::Submit, uploaded).is_some() {
            shown.filled = Some(id);
            self.presented.fetch_add((!shown.counted).into(), Ordering::Relaxed);
            shown.counted = true;
        }
    }

    fn submitted(&mut self, _: &mut PresentFrame<'_>, _: bool) {}

    fn is_dropped(&self) -> bool {
        self.alive.strong_count() == 0
    }

    fn has_ended(&self) -> bool {
        true
    }

    fn device(&self) -> Option<vk::Device> {
        None
    }

    fn fault(&self) -> &Fault {
        &self.fault
    }
}
