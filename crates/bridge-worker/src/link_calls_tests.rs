//! Tests of calls that must not wait: without time left, and in a forked child.

use super::*;
use crate::forked::in_a_child;

/// Calls without time left never wait for the end of the process. At first, they do not report the
/// end of a connection either if the process may be ending.
#[test]
fn calls_without_time_left_never_wait_for_the_process() {
    for says_bye in [true, false] {
        let (link, mut renderer) = linked("zero", LIMIT);
        if says_bye {
            renderer.close(Code::Done, "for a test");
        } else {
            hang_up(&renderer);
        }
        let ended = {
            let mut state = link.state();
            let ended = state.read(MAX_READS).unwrap_err();
            assert_eq!(state.exit_wait(&ended, Duration::ZERO), Some(Duration::ZERO), "{says_bye}");
            assert!(state.exit_wait(&ended, EXIT_GRACE / 2).unwrap() <= EXIT_GRACE / 2, "{says_bye}");
            ended
        };
        let poll = || link.wait_for(Duration::ZERO, |_| None::<()>).unwrap_err();
        if !says_bye {
            // The process may be ending for longer than this test takes.
            link.state().explained_exit_deadline = Some(Instant::now() + LIMIT);
            assert!(matches!(poll(), Ended::Timeout));
            assert!(link.state().may_be_dying(&ended));
        }
        link.state().explained_exit_deadline = Some(Instant::now());
        assert!(matches!(poll(), Ended::Closed(_)), "{says_bye}");
        assert!(!link.state().may_be_dying(&ended));
    }
}

/// In a forked child, no call waits for a lock that a thread of its parent has, or takes a message
/// of its parent.
#[test]
fn a_forked_child_takes_neither_messages_nor_locks_of_its_parent() {
    let (link, mut renderer) = linked("forked", LIMIT);
    renderer.close(Code::Done, "for a test");
    let state = link.state();
    in_a_child(|| {
        let forked = |ended| assert!(matches!(ended, Ended::Closed(bridge_ipc::Error::Forked { .. })), "{ended:?}");
        forked(link.wait_for(LIMIT, |_| None::<()>).unwrap_err());
        forked(link.check(LIMIT).unwrap_err());
        forked(link.send(1, &Message::Close { exchange: 1 }, LIMIT).unwrap_err());
        forked(link.send_unless_abandoned(1, &Message::Close { exchange: 1 }, LIMIT).unwrap_err());
        assert!(link.try_find(|_| Some(())).is_none());
        link.send_unreported(&Message::Close { exchange: 1 });
        link.refuse(1, Code::Failure, "for a test");
        link.close(1);
        link.bye();
    });
    drop(state);
    assert!(matches!(link.check(LIMIT), Err(Ended::Closed(bridge_ipc::Error::Closed { reason: Some(_), .. }))));
}
