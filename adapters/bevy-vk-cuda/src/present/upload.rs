//! Frames that the CPU computed in ordinary memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ash::vk;

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
    /// The uploaded frame and the object that it was uploaded to, because Bevy may create its
    /// object again.
    pub(crate) uploaded: Option<(R::Id, Vec<R::Item>)>,
}

impl<R: Target> Present for UploadPresent<R> {
    fn present(&mut self, frame: &mut PresentFrame<'_>) {
        let Some((id, object)) = R::find(frame, self.asset) else { return };
        if self.fault.note(Step::Asset, check_object::<R>(frame, &self.name, &object, &self.shape)).is_none() {
            return;
        }
        if let Some(items) = self.newest.take() {
            R::upload(frame.queue, &items, &object);
            self.presented.fetch_add(1, Ordering::Relaxed);
            if let Some((_, old)) = self.uploaded.replace((id, items)) {
                self.newest.give_back(old);
            }
        } else if let Some((last, items)) = &mut self.uploaded
            && *last != id
        {
            R::upload(frame.queue, items, &object);
            *last = id;
        }
    }

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
