//! Buffers and images while a graph is captured.
//!
//! A graph is captured on a stream of its own and launched on another, the home stream of what it
//! works on. So that copies on the captured stream are not taken for a guest's, which would have to
//! wait for work outside of the graph, it stands in for the home stream: on the thread that
//! captures, until the capture ends.

use std::cell::Cell;

use cudarc::driver::CudaStream;

use crate::stream::identity::key;

thread_local! {
    static CAPTURE: Cell<Option<Capture>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Capture {
    /// The driver's handles as numbers. Whoever captures holds both streams.
    home: usize,
    captured: usize,
    /// Something was used on a stream that the graph does not order.
    unordered: bool,
}

/// Relation of a stream to a buffer or image that is about to be used on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// No capture concerns it.
    Ordinary,
    /// It is captured in place of the home stream, on which the graph is launched.
    Captured,
    /// It is captured for another home stream. The graph cannot keep that order and will be
    /// discarded.
    Unordered,
}

/// On this thread the captured stream stands for the home stream, until this is dropped.
#[derive(Debug)]
pub(crate) struct CaptureScope(());

impl CaptureScope {
    /// None while another one is there.
    pub(crate) fn new(home: &CudaStream, captured: &CudaStream) -> Option<Self> {
        if CAPTURE.get().is_some() {
            return None;
        }
        CAPTURE.set(Some(Capture { home: key(home), captured: key(captured), unordered: false }));
        Some(Self(()))
    }

    /// Returns `true` if something was used on a stream that the graph does not order.
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
    let role = match (key(stream) == capture.captured, key(home) == capture.home) {
        (true, true) => return Role::Captured,
        (false, false) => return Role::Ordinary,
        (true, false) => Role::Unordered,
        // Done once, now, behind what the home stream has been given, and not in every frame.
        (false, true) => Role::Ordinary,
    };
    CAPTURE.set(Some(Capture { unordered: true, ..capture }));
    role
}
