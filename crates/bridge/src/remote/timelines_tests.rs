//! Tests of signals that the driver makes although it returns an error.

use super::Timelines;
use crate::timeline::hooked::{refuse_next_signal, refusing};

/// The signal counts: a second one of the same value would always fail, and end the connection.
#[test]
fn a_signal_that_is_made_and_refused_is_enough() {
    let Some(device) = refusing() else { return };
    let mut timelines = Timelines::unexported(&device, "refused").unwrap();
    refuse_next_signal();
    assert_eq!(timelines.signal_next().unwrap(), 1);
    assert_eq!((timelines.signal_next().unwrap(), timelines.freed().unwrap()), (2, 2));
}

/// Only this process may signal it: a higher value is the worker's, whatever the driver returns.
#[test]
fn a_value_that_a_worker_has_raised_is_no_signal_of_ours() {
    let Some(device) = refusing() else { return };
    let mut timelines = Timelines::unexported(&device, "raised").unwrap();
    timelines.disturb_in_test(9);
    let error = timelines.signal_next().unwrap_err();
    assert!(error.to_string().contains("values must strictly increase"), "{error}");
}
