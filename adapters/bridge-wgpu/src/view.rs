//! What the handle of an exchange and its frames hold together.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bridge::SubmitParts;

use crate::mirror::Mirror;
use crate::shared::Shared;

/// wgpu's view of an exchange, as its handles, turns and frames hold it. The last of them ends the
/// exchange: a frame that outlives its handle may be lost as well, and then nothing but a signal
/// that is submitted behind it shows its end.
pub(crate) struct View<S: Shared> {
    mirror: Arc<Mirror<S>>,
    last: Arc<Last>,
}

/// The end of an exchange whose handle was dropped, which is run when this is.
#[derive(Default)]
struct Last(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(end) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            end();
        }
    }
}

impl<S: Shared> View<S> {
    pub(crate) fn new(mirror: Arc<Mirror<S>>) -> Self {
        Self { mirror, last: Arc::default() }
    }

    /// For a handle that ends nothing, and whose turns are not wgpu's: the exchange does not wait
    /// for it.
    pub(crate) fn beside(&self) -> Self {
        Self::new(Arc::clone(&self.mirror))
    }

    /// The exchange has other resources, while no frame is open.
    pub(crate) fn replace(&mut self, mirror: Arc<Mirror<S>>) {
        self.mirror = mirror;
    }

    /// Leaves a handle of the exchange, which has no other that calls this, to whoever is the last
    /// to hold the view. It [ends](Mirror::end) then.
    pub(crate) fn leave<T: Send + 'static>(
        &self,
        handle: T,
        parts: impl FnOnce(&mut T) -> bridge::Result<Option<SubmitParts>> + Send + 'static,
    ) {
        let mirror = Arc::clone(&self.mirror);
        let end = Box::new(move || mirror.end(handle, parts));
        *self.last.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }
}

impl<S: Shared> Clone for View<S> {
    fn clone(&self) -> Self {
        Self { mirror: Arc::clone(&self.mirror), last: Arc::clone(&self.last) }
    }
}

impl<S: Shared> Deref for View<S> {
    type Target = Mirror<S>;

    fn deref(&self) -> &Mirror<S> {
        &self.mirror
    }
}
