//! Stubs for the window part of a view, without the feature `window`.

use std::time::Duration;

use bridge::ash::vk;

use crate::error::Result;
use crate::frame::Turn;
use crate::view::{Content, View};

/// Empty, since there are no windows.
#[derive(Default)]
pub(super) struct Screen {}

impl Screen {
    pub(super) fn wait(&mut self) -> Result<()> {
        Ok(())
    }

    pub(super) fn free(&mut self) {}
}

impl View {
    pub(super) fn take_events(&mut self, _timeout: Duration) -> Result<()> {
        Ok(())
    }

    pub(super) fn may_present(&self) -> bool {
        false
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
