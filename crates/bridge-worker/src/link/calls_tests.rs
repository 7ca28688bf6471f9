//! Tests of calls that must not wait: without time left, or with little, and in a forked child.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ThreadId;

use bridge_trace::log;
use test_support::in_a_child;

use super::*;

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
            assert_eq!(exit_limit(&mut state, &ended, Duration::ZERO), Some(Duration::ZERO), "{says_bye}");
            assert!(exit_limit(&mut state, &ended, EXIT_GRACE / 2).unwrap() <= EXIT_GRACE / 2, "{says_bye}");
            ended
        };
        let is_early = |left| link.state().exit_wait(&ended, left, Instant::now()).unwrap().is_early;
        let poll = || link.wait_for(Duration::ZERO, |_| None::<()>).unwrap_err();
        if !says_bye {
            // The process may be ending for longer than this test takes.
            link.state().explained_exit_deadline = Some(Instant::now() + LIMIT);
            assert!(matches!(poll(), Ended::Timeout));
            assert!(is_early(EXIT_GRACE));
        }
        link.state().explained_exit_deadline = Some(Instant::now());
        assert!(matches!(poll(), Ended::Closed(_)), "{says_bye}");
        assert!(!is_early(Duration::ZERO));
    }
}

/// A delay of the calling thread does not count as time that the process had to end: a call without
/// time left that looks for the first time does not report the end of the connection.
#[test]
fn a_delayed_call_does_not_report_a_silent_end() {
    let (link, renderer) = linked("delayed", LIMIT);
    hang_up(&renderer);
    let mut state = link.state();
    let ended = state.read(MAX_READS).unwrap_err();
    // The thread is delayed after it has read the clock, for longer than the process may take.
    let now = Instant::now().checked_sub(LIMIT).unwrap();
    let first = state.exit_wait(&ended, Duration::ZERO, now);
    assert_eq!(first, Some(ExitWait { limit: Duration::ZERO, is_early: true }));
    // For the next call, the time has passed.
    let next = state.exit_wait(&ended, Duration::ZERO, Instant::now());
    assert_eq!(next, Some(ExitWait { limit: Duration::ZERO, is_early: false }));
}

/// Calls with less time than a killed process takes to exit after its socket was closed do not
/// report the end of the connection: a later call reports that of the process.
#[test]
fn calls_with_little_time_do_not_report_a_silent_end_before_the_process_may_have_ended() {
    let (mut renderer, _said, link) = play("little", HANGS_UP);
    while link.state().read(MAX_READS).is_ok() {
        std::thread::yield_now();
    }
    let inbox = Inbox {
        offer: offer(1),
        resources: Vec::new(),
        timelines: Vec::new(),
        freed: VecDeque::new(),
        published: VecDeque::new(),
        closed: false,
        claimed: true,
    };
    link.state().inboxes.insert(1, inbox);
    let free = Message::Free { exchange: 1, slot: 0, value: 0 };
    let calls: [&dyn Fn(Duration) -> Option<Ended>; 2] =
        [&|left| link.wait_for(left, |_| None::<()>).err(), &|left| link.check(left).err()];
    let sends: [&dyn Fn(Duration) -> Option<Ended>; 2] =
        [&|left| link.send(1, &free, left).err(), &|left| link.send_unless_abandoned(1, &free, left).err()];
    for left in [Duration::ZERO, Duration::from_millis(1)] {
        // The process may be ending for longer than this test takes.
        link.state().explained_exit_deadline = Some(Instant::now() + LIMIT);
        for call in calls {
            let (start, ended) = (Instant::now(), call(left));
            assert!(matches!(ended, Some(Ended::Timeout)), "{left:?}: {ended:?}");
            assert!(start.elapsed() >= left);
        }
        for send in sends {
            assert!(send(left).is_none(), "the next call reports it");
        }
        link.state().explained_exit_deadline = Some(Instant::now());
        for ended in calls.into_iter().chain(sends).map(|call| call(left)) {
            assert!(matches!(ended, Some(Ended::Closed(_))), "{left:?}: {ended:?}");
        }
    }
    link.state().explained_exit_deadline = Some(Instant::now() + LIMIT);
    renderer.kill().unwrap();
    renderer.wait().unwrap();
    for ended in calls.map(|call| call(Duration::from_millis(1))) {
        assert!(matches!(ended, Some(Ended::Dead)), "{ended:?}");
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
        link.send_unreported(1, &Message::Close { exchange: 1 });
        link.refuse(1, Code::Failure, "for a test");
        link.close(1);
        link.bye();
    });
    drop(state);
    assert!(matches!(link.check(LIMIT), Err(Ended::Closed(bridge_ipc::Error::Closed { reason: Some(_), .. }))));
}

/// The link that [`Logger`] uses, and the thread that it observes.
static LINK: Mutex<Option<(ThreadId, Arc<Link>)>> = Mutex::new(None);
static SAID: AtomicUsize = AtomicUsize::new(0);
static LOCKED: AtomicUsize = AtomicUsize::new(0);

/// A logger that needs the lock of a link.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {
        if let Some((thread, link)) = &*LINK.lock().unwrap()
            && *thread == std::thread::current().id()
        {
            SAID.fetch_add(1, Ordering::SeqCst);
            LOCKED.fetch_add(usize::from(link.state.try_lock().is_err()), Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

/// The program's logger may take any lock, and other threads may wait for the link's while they
/// hold that one.
#[test]
fn the_logger_is_called_without_the_lock() {
    let (link, mut renderer) = linked("logger", LIMIT);
    log::set_logger(&Logger).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    *LINK.lock().unwrap() = Some((std::thread::current().id(), Arc::clone(&link)));
    // The exchange was not offered.
    link.refuse(1, Code::Resource, "for a test");
    renderer.close(Code::Done, "for a test");
    assert!(link.wait_for(LIMIT, |_| None::<()>).is_err());
    *LINK.lock().unwrap() = None;
    assert_eq!((SAID.load(Ordering::SeqCst), LOCKED.load(Ordering::SeqCst)), (1, 0));
}
