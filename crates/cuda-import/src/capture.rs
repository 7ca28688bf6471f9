//! Use of buffers and images while a graph is captured.
//!
//! A graph is captured on a separate stream and launched on the home stream of the buffers and
//! images that it uses. Copies on the captured stream must not count as those of a foreign stream,
//! which would have to wait for work outside of the graph. So the captured stream replaces the home
//! stream, on the thread that captures, until the capture ends.

use std::cell::Cell;

use cudarc::driver::CudaStream;

use crate::identity::identity;

thread_local! {
    static CAPTURE: Cell<Option<Capture>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Capture {
    /// The streams, with their contexts. The owner of the scope keeps both alive.
    home: (usize, usize),
    captured: (usize, usize),
    /// `true` if an object was used on a stream that the graph does not order.
    unordered: bool,
}

/// The relation of a stream to a buffer or image that will be used on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// No capture affects it.
    Ordinary,
    /// It is captured in place of the home stream, on which the graph will be launched.
    Captured,
    /// It is captured for another home stream. The graph cannot ensure the order and will be
    /// discarded.
    Unordered,
}

/// Replaces the home stream by the captured stream on this thread, until this is dropped.
#[derive(Debug)]
pub(crate) struct CaptureScope(());

impl CaptureScope {
    /// Returns `None` if another scope is open on this thread.
    pub(crate) fn new(home: &CudaStream, captured: &CudaStream) -> Option<Self> {
        if CAPTURE.get().is_some() {
            return None;
        }
        CAPTURE.set(Some(Capture { home: identity(home), captured: identity(captured), unordered: false }));
        Some(Self(()))
    }

    /// Returns `true` if an object was used on a stream that the graph does not order.
    pub(crate) fn has_unordered_use(&self) -> bool {
        CAPTURE.get().is_some_and(|capture| capture.unordered)
    }
}

impl Drop for CaptureScope {
    fn drop(&mut self) {
        CAPTURE.set(None);
    }
}

/// Returns `true` while a [`CaptureScope`] is open on this thread.
pub(crate) fn is_active() -> bool {
    CAPTURE.get().is_some()
}

/// Returns the relation of `stream` to an object whose home stream is `home`.
pub(crate) fn role(stream: &CudaStream, home: &CudaStream) -> Role {
    let Some(capture) = CAPTURE.get() else { return Role::Ordinary };
    let role = match (identity(stream) == capture.captured, identity(home) == capture.home) {
        (true, true) => return Role::Captured,
        (false, false) => return Role::Ordinary,
        (true, false) => Role::Unordered,
        // This work runs once, now, after the earlier work of the home stream, and not in every
        // frame.
        (false, true) => Role::Ordinary,
    };
    CAPTURE.set(Some(Capture { unordered: true, ..capture }));
    role
}
