//! Notes which command buffers get barriers, for [`probe`](super::probe).

use std::cell::{Cell, RefCell};
use std::ptr;

use ash::vk;

thread_local! {
    /// The notes of the [`during`] that the thread is in; null outside of one. Without a
    /// destructor, because a thread may still submit while it exits.
    static NOTES: Cell<*const RefCell<Vec<Barriers>>> = const { Cell::new(ptr::null()) };
}

/// A call of `vkCmdPipelineBarrier`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Barriers {
    pub(super) commands: vk::CommandBuffer,
    /// The number of barriers without a resource, of buffers and of images.
    pub(super) counts: [u32; 3],
}

/// Calls `record`, and returns the barriers that the thread has recorded meanwhile on devices of
/// this crate.
pub(super) fn during<R>(record: impl FnOnce() -> R) -> (R, Vec<Barriers>) {
    /// Restores the notes of an outer call, also if `record` panics.
    struct Restore(*const RefCell<Vec<Barriers>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            NOTES.set(self.0);
        }
    }
    let notes = RefCell::default();
    let restore = Restore(NOTES.replace(&raw const notes));
    let result = record();
    drop(restore);
    (result, notes.into_inner())
}

/// Notes a call, if the thread is in a [`during`].
pub(super) fn note(barriers: Barriers) {
    // SAFETY: null, or set by the `during` that the thread is in, which resets it before the notes
    // are moved.
    if let Some(notes) = unsafe { NOTES.get().as_ref() } {
        notes.borrow_mut().push(barriers);
    }
}
