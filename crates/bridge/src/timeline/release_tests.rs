//! Tests of signals that the host makes on behalf of a lost compute side.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

use std::sync::Arc;

use super::Timeline;
use super::history::History;
use super::hooked::{refuse_next_signal, refusing};
use crate::compute::{Backend, Compute};
use crate::signaler::Signaler;

#[test]
fn release_that_takes_effect_despite_an_error_counts() {
    let Some(device) = refusing() else { return };
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let history = Arc::new(History::new("released"));
    let timeline = Timeline::new(&device, compute.peer(), Signaler::Compute, &history).unwrap();
    timeline.issue(1);
    let point = timeline.point(1);
    refuse_next_signal();
    // SAFETY: the timeline has no other signaler.
    unsafe { timeline.release() }.unwrap();
    assert!(point.is_reached().unwrap());
}
