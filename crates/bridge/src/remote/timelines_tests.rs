//! Tests of signals that the driver makes although it returns an error.

use super::Timelines;
use crate::timeline::hooked::{refuse_next_signal, refusing};

/// The signal counts: a second one of the same value would always fail, and end the connection.
#[test]
fn signal_that_takes_effect_despite_an_error_counts() {
    let Some(device) = refusing() else { return };
    let mut timelines = Timelines::unexported(&device, "refused").unwrap();
    refuse_next_signal();
    assert_eq!(timelines.signal_next().unwrap(), 1);
    assert_eq!((timelines.signal_next().unwrap(), timelines.freed().unwrap()), (2, 2));
}

/// Only this process may signal it: a higher value is the worker's, whatever the driver returns.
#[test]
fn value_raised_by_a_worker_does_not_count_as_own_signal() {
    let Some(device) = refusing() else { return };
    let mut timelines = Timelines::unexported(&device, "raised").unwrap();
    timelines.disturb_in_test(9);
    let error = timelines.signal_next().unwrap_err();
    assert!(error.to_string().contains("values must strictly increase"), "{error}");
}
