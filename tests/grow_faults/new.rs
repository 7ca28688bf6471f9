//! Exchanges that are being made.

use std::collections::BTreeSet;

use bridge::{ComputeFirst, Error, Exchange, LiveObjects};

use crate::hook::{arm, disarm};
use crate::{Shared, Walked};

/// Makes an exchange whose images are handed over, with each call failing once. What is left of it
/// is counted as leaked: where the hand-over was submitted, and `wait` did not show its end, which
/// nothing else does.
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
        assert!(is_told(&error, name) || name == "vkMapMemory", "call {call}, {name}: {error}");
        if has_leaked(&before, &format!("call {call}, {name}")) {
            leaking.insert(name);
        }
        // A second try works.
        make().expect(name).close().expect(name);
    }
    let expected =
        ["vkAllocateMemory", "vkBindImageMemory", "vkCreateSemaphore", "vkQueueSubmit2", wait.unwrap_or(LOOK)];
    assert!(expected.iter().all(|name| called.contains(name)), "{called:?}");
    assert!(leaking.iter().copied().eq(wait), "{leaking:?}");
}

/// A look at a timeline.
const LOOK: &str = "vkGetSemaphoreCounterValue";

/// Whether the error is that of the call. One of a look says that the commands may still run.
fn is_told(error: &Error, name: &str) -> bool {
    match name {
        LOOK => matches!(error, Error::Timeout { .. }),
        _ => error.to_string().contains(name),
    }
}

/// Whether anything is left, all of which has to be counted as leaked.
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

/// The hand-over of an exchange on an engine's device fails, and is made again: it covers the
/// first.
pub(crate) fn walk_initialize(make: &dyn Fn() -> Exchange<Shared>) {
    let mut called = BTreeSet::new();
    for call in 0.. {
        let before = LiveObjects::now();
        let mut exchange = make();
        arm(call, true);
        let handed = exchange.initialize();
        let hit = disarm();
        if let Some(name) = hit {
            called.insert(name);
            assert!(is_told(&handed.unwrap_err(), name), "{name}");
            assert!(exchange.needs_initial());
            exchange.initialize().expect(name);
        }
        ComputeFirst::frame(&mut exchange, None);
        exchange.close().unwrap();
        assert_eq!(LiveObjects::now(), before, "call {call}, {hit:?}");
        if hit.is_none() {
            break;
        }
    }
    assert!(called.contains(LOOK) && called.contains("vkQueueSubmit2"), "{called:?}");
}
