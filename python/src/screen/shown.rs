//! A screen's window, where it has one.

// Vulkan calls.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::Fault;
use crate::screen::{PointLook, Scene, Screen};
use crate::window::input::State;

/// What a call of [`Screen::draw_and_present`] did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Did {
    pub(crate) drawn: bool,
    pub(crate) presented: bool,
}

impl Screen {
    /// What the window's events say, where there is a window.
    pub(crate) fn window(&self) -> Option<Arc<State>> {
        self.presenter.as_ref().map(|presenter| presenter.state().clone())
    }

    /// Draws what is new, and presents the picture if the window can take it now.
    pub(crate) fn draw_and_present(&mut self) -> Result<Did, Fault> {
        let drawn = self.draw()?;
        let Some(presenter) = &mut self.presenter else { return Ok(Did { drawn, presented: false }) };
        if drawn {
            presenter.drew();
        }
        let picture = self.drawn.then(|| self.picture.as_raw());
        // SAFETY: made in `open`, with four bytes a pixel, to be copied from; drawn on the device's queue. It is dropped after the
        // presenter, see the order of the fields.
        let presented = unsafe { presenter.present(picture) }?;
        Ok(Did { drawn, presented })
    }

    /// The scene, with the camera where the user has moved it.
    pub(super) fn moved(&self, scene: Scene) -> Scene {
        match (scene, &self.presenter) {
            (Scene::Points(look), Some(presenter)) => {
                Scene::Points(PointLook { camera: presenter.moved(look.camera), ..look })
            }
            (scene, _) => scene,
        }
    }
}
