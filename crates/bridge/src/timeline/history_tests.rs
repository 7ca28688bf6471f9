//! Tests of the history in the message of a wait.

use super::history::History;
use crate::signaler::Signaler;

#[test]
fn last_signal_and_wait_of_each_timeline_are_distinguished() {
    let history = History::new("frames");
    assert_eq!(history.exchange(), "frames");
    assert_eq!(history.to_string(), "computed: signal none, wait none; rendered: signal none, wait none");
    history.record_signal(Signaler::Compute, 3);
    history.record_wait(Signaler::Compute, 2);
    history.record_signal(Signaler::Queue, 5);
    assert_eq!(history.last_signal(Signaler::Compute), 3);
    assert_eq!(history.last_signal(Signaler::Queue), 5);
    // A value that is recorded late does not replace a higher one.
    history.record_signal(Signaler::Compute, 1);
    history.record_wait(Signaler::Queue, 4);
    history.record_wait(Signaler::Queue, 4);
    assert_eq!(history.to_string(), "computed: signal 3, wait 2; rendered: signal 5, wait 4");
}
