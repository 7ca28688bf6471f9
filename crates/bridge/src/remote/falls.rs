//! Timelines that workers with CUDA in step set back, while submissions may wait for them.

use std::ops::Deref;

use super::pending_frames::PendingFrames;
use crate::exchange::{RemoteHandle, WorkerState};

/// Describes the violation of a worker with CUDA that has set its timeline below a value that it
/// had reached, while submissions that may wait for the value have not ended. For a worker that
/// owes nothing; otherwise `reached_value` reports it.
pub(super) fn describe_fall<E>(end: &E, frames: &PendingFrames) -> Option<String>
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    // An error is reported where frames are processed.
    describe_lower(is_relied_on(end, frames).then(|| end.computed().ok())??, frames)
}

/// Returns the frames that the worker owes. If it owes none, but has set its timeline back while
/// submissions may wait, returns the last frame that it had finished: once its value is reached
/// again, nothing waits.
pub(super) fn awaited_frames<E>(end: &E, frames: &PendingFrames) -> Box<[u64]>
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    match describe_fall(end, frames) {
        Some(_) => frames.reached_frame().into_iter().collect(),
        None => frames.frames(),
    }
}

/// Describes the violation of a worker whose timeline has this value, if that is lower than one
/// that it had reached.
pub(super) fn describe_lower(value: u64, frames: &PendingFrames) -> Option<String> {
    let reached = frames.reached();
    (value < reached).then(|| {
        format!("has set its timeline back from {reached} to {value}, while submitted commands may wait for it")
    })
}

/// Returns `true` if the worker owes nothing, and submissions that may wait for values of finished
/// frames have not ended. The timeline is then checked repeatedly, since it may fall.
pub(super) fn is_relied_on<E>(end: &E, frames: &PendingFrames) -> bool
where
    E: RemoteHandle + Deref<Target = WorkerState<E::Resources>>,
{
    frames.len() == 0 && frames.reached() > 0 && end.has_unfinished_submissions()
}
