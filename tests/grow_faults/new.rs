//! Creating exchanges.

use std::collections::BTreeSet;

use bridge::{Compute, ComputeFirst, Error, Exchange, LiveObjects};

use crate::Shared;
use crate::frames::Walked;
use crate::hook::{arm, disarm};

/// Creates an exchange whose images are handed over, with each call failing once. What remains is
/// counted as leaked: this is the case if the hand-over was submitted and `wait`, which is the only
/// call that could, did not show that it has ended.
pub(crate) fn walk_new(wait: Option<&'static str>, make: &dyn Fn() -> bridge::Result<Exchange<Shared>>) {
    let (mut called, mut leaking) = (BTreeSet::new(), BTreeSet::new());
    for call in 0.. {
        let before = LiveObjects::now();
        arm(call, true);
        let made = make();
        let hit = disarm();
        let Some(name) = hit else {
            made.unwrap().close().unwrap();
            break;
        };
        called.insert(name);
        let error = made.map(drop).expect_err(name);
        assert!(is_reported(&error, name) || name == "vkMapMemory", "call {call}, {name}: {error}");
        if has_leaked(&before, &format!("call {call}, {name}")) {
            leaking.insert(name);
        }
        // A second attempt works.
        make().expect(name).close().expect(name);
    }
    let expected =
        ["vkAllocateMemory", "vkBindImageMemory", "vkCreateSemaphore", "vkQueueSubmit2", wait.unwrap_or(COUNTER_QUERY)];
    assert!(expected.iter().all(|name| called.contains(name)), "{called:?}");
    assert!(leaking.iter().copied().eq(wait), "{leaking:?}");
}

/// A look at a timeline.
const COUNTER_QUERY: &str = "vkGetSemaphoreCounterValue";

/// Returns whether the error is that of the call. If looking at the timeline fails, the error says
/// that the commands may still run.
fn is_reported(error: &Error, name: &str) -> bool {
    match name {
        COUNTER_QUERY => matches!(error, Error::Timeout { .. }),
        _ => error.to_string().contains(name),
    }
}

/// Returns whether anything is left, and checks that all of it is counted as leaked.
fn has_leaked(before: &LiveObjects, what: &str) -> bool {
    let now = LiveObjects::now();
    let alive = [now.buffers - before.buffers, now.images - before.images, now.timelines - before.timelines];
    let leaked = [
        now.leaked_buffers - before.leaked_buffers,
        now.leaked_images - before.leaked_images,
        now.leaked_timelines - before.leaked_timelines,
    ];
    assert_eq!(alive, leaked, "{what}: what is left, and what is counted");
    leaked != [0; 3]
}

/// The hand-over of an exchange on an engine's device fails and is repeated: the second hand-over
/// includes the first.
pub(crate) fn walk_initialize(compute: &Compute, make: &dyn Fn() -> Exchange<Shared>) {
    let mut called = BTreeSet::new();
    for call in 0.. {
        let before = LiveObjects::now();
        let mut exchange = make();
        arm(call, true);
        let handed = exchange.initialize();
        let hit = disarm();
        if let Some(name) = hit {
            called.insert(name);
            assert!(is_reported(&handed.unwrap_err(), name), "{name}");
            assert!(exchange.needs_initial());
            exchange.initialize().expect(name);
        }
        ComputeFirst::frame(compute, &mut exchange, None);
        exchange.close().unwrap();
        assert_eq!(LiveObjects::now(), before, "call {call}, {hit:?}");
        if hit.is_none() {
            break;
        }
    }
    assert!(called.contains(COUNTER_QUERY) && called.contains("vkQueueSubmit2"), "{called:?}");
}
