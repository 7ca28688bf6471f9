//! Stubs for the window part of a view, without the feature `window`.

use std::time::Duration;

use bridge::ash::vk;
use bridge::{ExportDevice, TimelinePoint};

use crate::error::Result;
use crate::frame::Turn;
use crate::view::{Content, View};

/// Empty, since there are no windows.
pub(super) struct Screen {}

/// The order of submissions and presents, without any presents.
pub(super) struct PresentOrder {}

/// The permission to submit a frame, which is always given.
pub(super) struct Admitted {}

impl PresentOrder {
    pub(super) fn admit(&self, _prepare: impl FnOnce() -> bridge::Result<()>) -> Result<Admitted> {
        Ok(Admitted {})
    }
}

impl Admitted {
    pub(super) fn submitted(self, _point: Option<TimelinePoint>) {}
}

impl Screen {
    pub(super) fn none(_device: &ExportDevice) -> Self {
        Self {}
    }

    pub(super) fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    pub(super) fn free(&mut self) {}

    pub(super) fn release_order(&self) {}

    pub(super) fn keep_order(&self) {}
}

impl View {
    pub(super) fn take_events(&mut self, _timeout: Duration) -> Result<()> {
        Ok(())
    }

    pub(super) fn present_order(&mut self) -> PresentOrder {
        PresentOrder {}
    }

    pub(super) fn present(&mut self) -> Result<bool> {
        Ok(false)
    }

    pub(super) fn with_orbit(&self, content: Content) -> Content {
        content
    }

    pub(super) fn reserve_copy(&mut self, _frame: &dyn Turn, _content: Content) -> Result<Option<vk::Buffer>> {
        Ok(None)
    }

    pub(super) fn note_drawn(&mut self, _content: Content, _kept: bool, _rate: Option<f64>) {}
}
