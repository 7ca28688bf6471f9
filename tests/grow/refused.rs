//! Replacements that are refused have no effect.

use std::time::{Duration, Instant};

use bridge::vk_export::Error as VulkanError;
use bridge::{Compute, Error, Exchange, LiveObjects, QueueKind, Stage};
use bridge_tests::{Commands, Filler, Gate, Readback, Rig};

use crate::{LEN, SIZE, USES, Words, info, read, words};

fn assert_open(result: Result<(), Error>, frame: u64, stage: Stage, advice: &str) {
    let error = result.unwrap_err();
    let text = error.to_string();
    match error {
        Error::ReplacedWhileOpen { exchange, frame: open, stage: of, .. } => {
            assert_eq!((exchange.as_str(), open, of), ("growing", frame, stage));
        }
        other => panic!("{other}"),
    }
    assert!(text.contains(&format!("of frame {frame} is open")) && text.contains(advice), "{text}");
}

pub(crate) fn an_open_turn_is_an_error(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let mut exchange = words(compute, 2);
    let turn = exchange.begin().unwrap();
    assert_open(
        exchange.grow(2 * LEN),
        0,
        Stage::Compute,
        "the compute turn of frame 0 is open; finish, publish or skip it first",
    );
    let turn = turn.finish().unwrap();
    assert_open(exchange.grow(2 * LEN), 0, Stage::Render, "submit or skip it first");
    turn.skip();
    let turn = exchange.begin().unwrap().finish().unwrap().lend().unwrap();
    assert_open(exchange.grow(2 * LEN), 1, Stage::Submit, "the lent turn of frame 1 is open; end (`submitted`");
    // SAFETY: it was not submitted.
    unsafe { turn.not_submitted() };
    let mut vulkan_first = Exchange::render_first(compute, &info(2), Words::new(LEN, USES)).unwrap();
    let turn = vulkan_first.begin().unwrap();
    assert_open(vulkan_first.grow(2 * LEN), 0, Stage::Render, "submit or skip it first");
    turn.skip();
    for exchange in [&exchange.resources(), &vulkan_first.resources()] {
        assert_eq!(exchange.len(), LEN);
    }
    exchange.grow(2 * LEN).unwrap();
    vulkan_first.grow(2 * LEN).unwrap();
    exchange.close().unwrap();
    vulkan_first.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn a_size_that_is_too_large_changes_nothing(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let before = LiveObjects::now();
    let mut exchange = words(compute, 2);
    let alive = LiveObjects::now();
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 3);
    turn.finish().unwrap().skip();
    for len in [usize::MAX / 4, usize::MAX] {
        let error = exchange.grow(len).unwrap_err().to_string();
        assert!(error.contains("\"growing[0]\"") && error.contains("can address"), "{len} words: {error}");
    }
    let limit = rig.device().physical().max_buffer_size;
    let error = exchange.grow(limit.map_or(1 << 50, |limit| (limit / 4) as usize + 1)).unwrap_err();
    match error {
        Error::Vulkan(VulkanError::TooLarge { limit_name: "maxBufferSize", limit: told, .. }) => {
            assert_eq!(Some(told), limit)
        }
        // A driver that reports no limit.
        Error::Vulkan(_) => assert_eq!(limit, None, "{error}"),
        other => panic!("{other}"),
    }
    for len in [0, 1, LEN - 1] {
        let error = exchange.grow(len).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot grow to {len}")) && error.contains("`Exchange::replace`"), "{error}");
    }
    assert!(exchange.replace(Words::new(0, USES)).is_err());
    assert_eq!((LiveObjects::now(), exchange.resources().len()), (alive, LEN));
    let turn = exchange.begin().unwrap();
    turn.skip().unwrap();
    exchange.grow(LEN + 1).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 3));
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// It is unknown whether the parts of a dropped lent turn were submitted. On a device that the
/// bridge opened, a signal is submitted after them.
pub(crate) fn lent_turns_that_were_dropped_are_waited_for(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut exchange = words(compute, 1);
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 4);
    drop(turn.finish().unwrap().lend().unwrap());
    exchange.grow(2 * LEN).unwrap();
    let turn = exchange.begin().unwrap().finish().unwrap();
    assert!(read(&readback, turn) == Filler::pattern(LEN, 4));
    exchange.close().unwrap();
}

/// An exchange whose end times out waits only once, and the resources that it replaced are leaked
/// with the others, or freed.
pub(crate) fn nothing_is_waited_for_twice(rig: &Rig, compute: &Compute) {
    const LIMIT: Duration = Duration::from_secs(5);
    let before = LiveObjects::now();
    let commands = Commands::new(rig.device());
    let gate = Gate::new(rig.device());
    let short = bridge::ExchangeInfo { timeout: LIMIT, ..info(1) };
    let mut exchange = Exchange::new(compute, &short, Words::new(LEN, USES)).unwrap();
    // The first slots are freed before anything is held: CUDA frees nothing while its stream waits.
    exchange.replace(Words::new(2 * LEN, bridge::BufferAccess::TRANSFER_WRITE)).unwrap();
    let start = Instant::now();
    while LiveObjects::now().buffers > before.buffers + 1 {
        exchange.begin().unwrap().skip().unwrap();
        assert!(start.elapsed() < Rig::LONG, "what was replaced is never freed");
    }
    let turn = exchange.begin().unwrap().finish().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 1);
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    // SAFETY: recorded with the turn's barriers; the resources that it uses are leaked.
    commands.note(unsafe { turn.submit(&[recorded]) }.unwrap());
    if compute.cuda().is_some() {
        // On the CPU, the backend's thread would wait for the queue until its timeout, and fail.
        exchange.grow(3 * LEN).unwrap();
    }
    let closing = Instant::now();
    let error = exchange.close().unwrap_err();
    let took = closing.elapsed();
    let Error::Timeout { waited, .. } = error else { panic!("{error}") };
    // Each wait lasts until the timeout, so a second wait would be detected.
    assert!(took - waited < LIMIT, "{waited:?} of {took:?} are one wait: {error}");
    gate.open();
    commands.finish();
    let leaked = LiveObjects::now().leaked_buffers - before.leaked_buffers;
    assert_eq!(leaked, if compute.cuda().is_some() { 2 } else { 1 });
}
