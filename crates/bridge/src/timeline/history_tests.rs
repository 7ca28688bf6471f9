//! What the message of a wait says.

use super::history::History;
use super::signaller::Signaller;

#[test]
fn the_last_of_each_is_told_apart() {
    let history = History::new("frames");
    assert_eq!(history.exchange(), "frames");
    assert_eq!(history.to_string(), "computed: signal none, wait none; rendered: signal none, wait none");
    history.signalled(Signaller::Compute, 3);
    history.waited(Signaller::Compute, 2);
    history.signalled(Signaller::Queue, 5);
    assert_eq!(history.last_signal(Signaller::Compute), 3);
    assert_eq!(history.last_signal(Signaller::Queue), 5);
    // What is told late does not undo what is known.
    history.signalled(Signaller::Compute, 1);
    history.waited(Signaller::Queue, 4);
    history.waited(Signaller::Queue, 4);
    assert_eq!(history.to_string(), "computed: signal 3, wait 2; rendered: signal 5, wait 4");
}
