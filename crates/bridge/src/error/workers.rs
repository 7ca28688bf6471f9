//! Messages of errors about workers in other processes.

use std::fmt::{self, Formatter};
use std::time::Duration;

pub(super) fn frames_owed(
    exchange: &str,
    worker: &u32,
    frames: &[u64],
    limit: &Duration,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": worker process {worker} is lost but still running, and the queue may wait for its frames {frames:?}; it \
         is killed if one takes more than {limit:?} after the previous one, unless it was killed already; connect another worker \
         once the exchange's `owed_frames` is empty"
    )
}

pub(super) fn frames_torn(
    exchange: &str,
    worker: &u32,
    torn: &[u64],
    signaled: &u64,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": frames {torn:?} of the replaced worker process {worker} are torn; value {signaled} was \
         signaled on its behalf"
    )
}

/// Describes the value that was signaled on behalf of a worker in step, and the torn frames.
pub(super) fn settled(torn: &[u64], signaled: Option<u64>) -> String {
    let Some(value) = signaled else { return String::new() };
    let torn = if torn.is_empty() { String::new() } else { format!("; torn frames: {torn:?}") };
    format!("{torn}; value {value} was signaled on its behalf")
}

pub(super) fn whole(frame: Option<u64>) -> String {
    frame.map_or("none".to_owned(), |frame| frame.to_string())
}
