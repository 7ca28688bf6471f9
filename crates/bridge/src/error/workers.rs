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
        "exchange \"{exchange}\": worker process {worker}, which is lost and has not ended, owes frames {frames:?}, and is killed if it \
         does not finish each of them within {limit:?} of the one before; let another worker connect once `owed` of the exchange is empty"
    )
}

pub(super) fn frames_torn(
    exchange: &str,
    worker: &u32,
    torn: &[u64],
    signalled: &u64,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "exchange \"{exchange}\": frames {torn:?} of worker process {worker}, which another has replaced, are torn; value {signalled} was \
         signalled in its place"
    )
}

/// What was signalled in the place of a worker in step.
pub(super) fn settled(torn: &[u64], signalled: Option<u64>) -> String {
    let Some(value) = signalled else { return String::new() };
    let torn = if torn.is_empty() { String::new() } else { format!(", of torn frames {torn:?}") };
    format!("{torn}, and value {value} was signalled in its place")
}

pub(super) fn whole(frame: Option<u64>) -> String {
    frame.map_or("none".to_owned(), |frame| frame.to_string())
}
