//! Contents that are kept, and resources that are freed, when resources are replaced.

use std::time::Instant;

use bridge::{BufferAccess, Compute, Exchange, ExchangeInfo, FrameGraph, LiveObjects, Work};
use bridge::{SharedPool, SharedPoolInfo};
use bridge_tests::{Commands, Filler, Readback, Rig};

use crate::{LEN, SIZE, USES, Words, info, read, words};

pub(crate) fn every_slot_keeps_its_contents(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    for slots in 1..=3 {
        let mut exchange = words(compute, slots);
        for frame in 0..slots as u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame * 1000);
            assert!(read(&readback, turn.finish().unwrap()) == Filler::pattern(LEN, frame * 1000));
        }
        for len in [LEN + 1, 3 * LEN] {
            exchange.grow(len).unwrap();
            exchange.grow(len).unwrap();
            assert_eq!(exchange.resources().len(), len);
            for _ in 0..slots {
                let turn = exchange.begin().unwrap().finish().unwrap();
                let base = turn.slot() as u32 * 1000;
                assert_eq!((turn.resources().len(), turn.resources().size()), (len, 4 * len as u64));
                assert!(read(&readback, turn) == Filler::pattern(LEN, base), "{len} words, {slots} slots");
            }
        }
        // The values continue: nothing counts from 0 again.
        let turn = exchange.begin().unwrap();
        assert_eq!(turn.frame(), 3 * slots as u64);
        let turn = turn.finish().unwrap();
        assert!(turn.computed().value() > 3 * slots as u64, "{:?}", turn.computed());
        turn.skip();
        // A shorter buffer with an additional use.
        exchange.replace(Words::new(10, USES | BufferAccess::VERTEX_INPUT)).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        let base = turn.slot() as u32 * 1000;
        let source = (turn.resources().as_raw(), 40);
        assert!(readback.run(turn, &[source])[..10] == Filler::pattern(10, base));
        exchange.close().unwrap();
    }
}

pub(crate) fn vulkan_first_keeps_its_contents(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let mut exchange = Exchange::render_first(compute, &info(2), Words::new(LEN, USES)).unwrap();
    for frame in 0..2 {
        let turn = exchange.begin().unwrap();
        let commands = readback.record(&turn, &[]);
        // SAFETY: recorded with the turn's barriers; waited for at the end of each round.
        let mut turn = unsafe { turn.submit(&[commands]) }.unwrap();
        filler.fill(&mut turn, frame * 1000);
        turn.rendered().wait(Rig::LONG).unwrap();
        turn.finish().unwrap();
    }
    exchange.grow(2 * LEN).unwrap();
    for frame in 0..2 {
        let turn = exchange.begin().unwrap();
        assert_eq!((turn.slot() as u32, turn.resources().len()), (frame, 2 * LEN));
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: as above.
        let turn = unsafe { turn.submit(&[commands]) }.unwrap();
        turn.rendered().wait(Rig::LONG).unwrap();
        turn.finish().unwrap();
        assert!(readback.words() == Filler::pattern(LEN, frame * 1000), "slot {frame}");
    }
    exchange.close().unwrap();
}

/// In tuples and lists, each resource is matched by its position; lists may become longer or
/// shorter.
pub(crate) fn many_resources_grow_together(rig: &Rig, compute: &Compute) {
    let spec =
        |first: usize, others: usize| (Words::new(first, USES).with_name("first"), vec![Words::new(8, USES); others]);
    let mut exchange = Exchange::new(compute, &info(1), spec(4, 2)).unwrap();
    let readback = Readback::new(rig.device(), 4 * (8 + 3 * 8));
    let mut turn = exchange.begin().unwrap();
    match turn.work() {
        Work::Host(host) => host
            .run(|(first, others)| {
                first.fill(1);
                others.zip(2..).for_each(|(words, value)| words.fill(value));
            })
            .unwrap(),
        Work::Cuda(cuda) => {
            let (mut first, others) = cuda.resources;
            cuda.stream.memcpy_htod(&[1u32; 4], &mut first).unwrap();
            others.zip(2..).for_each(|(mut words, value)| cuda.stream.memcpy_htod(&[value; 8], &mut words).unwrap());
        }
        _ => unreachable!("no other backend is opened here"),
    }
    turn.finish().unwrap().skip();
    for others in [3, 1] {
        exchange.replace(spec(8, others)).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        let (first, list) = turn.resources();
        assert_eq!((first.len(), list.len()), (8, others));
        let mut sources = vec![(first.as_raw(), 16)];
        sources.extend(list.take(others.min(2)).map(|buffer| (buffer.as_raw(), buffer.size())));
        let seen = readback.run(turn, &sources);
        let expected = [[1; 4].as_slice(), &[2; 8], &[3; 8]].concat();
        let kept = 4 + 8 * others.min(2);
        assert_eq!(seen[..kept], expected[..kept]);
    }
    exchange.close().unwrap();
}

pub(crate) fn pooled_buffers_grow(rig: &Rig, compute: &Compute) {
    let info_of_pool = SharedPoolInfo { name: "spring", block_size: 1 << 20, ..Default::default() };
    let pool = SharedPool::new(compute, &info_of_pool).unwrap();
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let info = ExchangeInfo { pool: Some(&pool), ..info(2) };
    let mut exchange = Exchange::new(compute, &info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 5);
    assert!(read(&readback, turn.finish().unwrap()) == Filler::pattern(LEN, 5));
    exchange.grow(2 * LEN).unwrap();
    assert_eq!(pool.report().buffers, 4, "the old ones are kept");
    exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
    let mut turn = exchange.begin().unwrap();
    assert_eq!(turn.slot(), 0, "after slot 1");
    if let Work::Host(host) = turn.work() {
        host.run(|words| assert_eq!(words.len(), 2 * LEN)).unwrap();
    }
    assert!(read(&readback, turn.finish().unwrap()) == Filler::pattern(LEN, 5));
    exchange.close().unwrap();
    assert_eq!(pool.report().buffers, 0);
}

/// A graph of the old slots contains their memory addresses: it is not launched with the new slots.
pub(crate) fn graphs_are_captured_again(rig: &Rig, compute: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = words(compute, 1);
    let mut graph = FrameGraph::new(&exchange);
    let mut recorded = 0;
    for (frame, len) in [LEN, LEN, 2 * LEN, 2 * LEN, 3 * LEN].into_iter().enumerate() {
        exchange.grow(len).unwrap();
        let record = |_, work: Work<'_, Words>| {
            recorded += 1;
            match work {
                Work::Host(host) => host.run(|words| words.fill(words.len() as u32))?,
                // Zero, which new memory may contain by chance; the number of captures is the
                // actual check.
                Work::Cuda(mut cuda) => cuda.stream.memset_zeros(&mut cuda.resources)?,
                _ => unreachable!("no other backend is opened here"),
            }
            Ok(())
        };
        // SAFETY: only the frame's own buffer is used.
        let turn = unsafe { exchange.compute_with(&mut graph, record) }.unwrap();
        let expected = if compute.cuda().is_some() { 0 } else { len as u32 };
        assert!(read(&readback, turn) == vec![expected; LEN], "frame {frame}");
    }
    assert_eq!(recorded, if compute.cuda().is_some() { 3 } else { 5 });
    // The graph keeps the last slots alive; the exchange is closed before it.
    exchange.close().unwrap();
    drop(graph);
}

/// A program that only launches graphs never calls `begin`, and its replaced slots are still freed.
pub(crate) fn graphs_free_what_was_replaced(rig: &Rig, compute: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut exchange = words(compute, 1);
    let mut graph = FrameGraph::new(&exchange);
    let mut frame = |exchange: &mut Exchange<Words>| {
        // SAFETY: nothing is enqueued.
        read(&readback, unsafe { exchange.compute_with(&mut graph, |_, _| Ok(())) }.unwrap());
    };
    frame(&mut exchange);
    let alive = LiveObjects::now().buffers;
    exchange.grow(2 * LEN).unwrap();
    assert!(LiveObjects::now().buffers > alive, "the old slots are freed at a later frame");
    let deadline = Instant::now() + Rig::LONG;
    // On CUDA a separate thread frees them.
    while LiveObjects::now().buffers > alive {
        assert!(Instant::now() < deadline, "the old slots are never freed");
        frame(&mut exchange);
    }
    exchange.close().unwrap();
}

pub(crate) fn two_hundred_times_leave_nothing(rig: &Rig, compute: &Compute) {
    let filler = Filler::new(compute);
    let commands = [(); 3].map(|()| Commands::new(rig.device()));
    let before = LiveObjects::now();
    let mut exchange = words(compute, 3);
    let alive = LiveObjects::now();
    let mut most = 0;
    for round in 0..200u32 {
        let len = if round % 2 == 0 { 2 * LEN } else { LEN };
        exchange.replace(Words::new(len, USES)).unwrap();
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, round);
        let turn = turn.finish().unwrap();
        let commands = &commands[round as usize % 3];
        let recorded = commands.fill(&turn, turn.resources().as_raw(), round);
        // SAFETY: recorded with the turn's barriers; waited for before it is recorded again, and by
        // closing.
        commands.note(unsafe { turn.submit(&[recorded]) }.unwrap());
        most = most.max(LiveObjects::now().buffers);
    }
    let now = LiveObjects::now();
    assert_eq!(
        (now.exchanges, now.timelines, now.leaked_buffers),
        (alive.exchanges, alive.timelines, before.leaked_buffers)
    );
    // Three frames may be unfinished, each with its own slots. On CUDA, others wait for the thread
    // that frees them.
    assert!(compute.cuda().is_some() || most <= alive.buffers + 4 * 3, "{most} buffers at once");
    commands.iter().for_each(Commands::finish);
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}
