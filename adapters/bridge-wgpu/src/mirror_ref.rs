//! A shared reference to a [`Mirror`], whose last owner ends the exchange.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bridge::SubmitParts;

use crate::error::{Error, Result};
use crate::mirror::Mirror;
use crate::shared::Shared;

/// A reference to wgpu's view of an exchange, held by its handles, turns and frames. The last
/// reference ends the exchange: a frame that outlives its handle may be lost too, and its end is
/// then known only from a signal that is submitted after it.
pub(crate) struct MirrorRef<S: Shared> {
    mirror: Arc<Mirror<S>>,
    last: Arc<Last>,
}

/// Ends an exchange whose handle was dropped, on drop.
#[derive(Default)]
struct Last(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for Last {
    fn drop(&mut self) {
        if let Some(end) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            end();
        }
    }
}

impl<S: Shared> MirrorRef<S> {
    pub(crate) fn new(mirror: Arc<Mirror<S>>) -> Self {
        Self { mirror, last: Arc::default() }
    }

    /// Returns a reference for a handle that does not end the exchange and whose turns do not
    /// belong to wgpu. The end of the exchange does not wait for this reference.
    pub(crate) fn beside(&self) -> Self {
        Self::new(Arc::clone(&self.mirror))
    }

    /// Returns `true` if both are of the same exchange.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mirror, &other.mirror)
    }

    /// Replaces the mirror by that of other resources, while no frame is open.
    pub(crate) fn replace(&mut self, mirror: Arc<Mirror<S>>) {
        self.mirror = mirror;
    }

    /// Leaves the exchange's handle to the last reference, which then [ends](Mirror::end) the
    /// exchange. Called at most once per exchange.
    pub(crate) fn leave<T: Send + 'static>(
        &self,
        handle: T,
        parts: impl FnOnce(&mut T) -> bridge::Result<Option<SubmitParts>> + Send + 'static,
    ) {
        let mirror = Arc::clone(&self.mirror);
        let end = Box::new(move || mirror.end(handle, parts));
        *self.last.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
    }

    /// [Closes](Mirror::close) the exchange with its handle. Called instead of
    /// [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] while there are other references, of which the last then ends the
    /// exchange, and the errors of `close`.
    pub(crate) fn close<T: Send + 'static>(
        self,
        handle: T,
        parts: impl FnOnce(&mut T) -> bridge::Result<Option<SubmitParts>> + Send + 'static,
        close: impl FnOnce(T) -> bridge::Result<()>,
    ) -> Result<()> {
        if Arc::strong_count(&self.last) == 1 {
            return self.mirror.close(handle, parts, close);
        }
        self.leave(handle, parts);
        Err(Error::invalid(
            format!("exchange \"{}\"", self.name),
            "it was closed while a turn or frame is open; it ends with the last of them, and errors are then logged",
        ))
    }
}

impl<S: Shared> Clone for MirrorRef<S> {
    fn clone(&self) -> Self {
        Self { mirror: Arc::clone(&self.mirror), last: Arc::clone(&self.last) }
    }
}

impl<S: Shared> Deref for MirrorRef<S> {
    type Target = Mirror<S>;

    fn deref(&self) -> &Mirror<S> {
        &self.mirror
    }
}
