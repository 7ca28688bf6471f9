//! Frames in pooled buffers.

use bridge::{BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, SharedBuffer, Work};
use bridge_tests::{Filler, Readback, Rig};

use crate::{LEN, READ, in_pool, pool};

pub(crate) fn frames_of_pooled_exchanges_cross_intact(rig: &Rig, compute: &Compute) {
    let pool = pool(compute, 1 << 20);
    let filler = Filler::new(compute);
    let readback = Readback::new(rig.device(), 4 * LEN as u64);
    let spec = BufferSpec::<u32>::new(LEN, READ);
    let mut exchanges: Vec<_> =
        ["one", "two", "three"].map(|name| Exchange::new(compute, &in_pool(name, &pool), spec.clone()).unwrap()).into();
    assert_eq!(pool.report().buffers, 9);
    for frame in 0..10 {
        for (index, exchange) in exchanges.iter_mut().enumerate() {
            let base = frame * 100_000 + u32::try_from(index).unwrap();
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, base);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), turn.resources().size());
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, base), "frame {frame} of {index}");
        }
    }
    exchanges.into_iter().for_each(|exchange| exchange.close().unwrap());
    assert_eq!(pool.report().buffers, 0);
}

/// Sets all words of each buffer to a number of its own.
fn stamp(turn: &mut ComputeTurn<Vec<BufferSpec<u32>>>, first: u32) {
    match turn.work() {
        Work::Host(host) => {
            host.run(move |buffers| buffers.zip(first..).for_each(|(words, stamp)| words.fill(stamp))).unwrap();
        }
        Work::Cuda(cuda) => {
            for (mut view, stamp) in cuda.resources.zip(first..) {
                cuda.stream.memcpy_htod(&vec![stamp; view.len()], &mut view).unwrap();
            }
        }
        _ => unreachable!("no other backend is opened here"),
    }
}

/// All buffers are written before any is read, so a buffer that overlaps another shows the wrong
/// stamp.
pub(crate) fn no_buffer_overlaps_another(rig: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    let lens = [1, 63, 64, 65, 100, 1000, 4096, 16_383, 16_384, 20_000];
    let specs: Vec<_> = lens.iter().map(|len| BufferSpec::<u32>::new(*len, READ)).collect();
    let info = ExchangeInfo { slots: 3, ..in_pool("stamps", &pool) };
    let mut exchange = Exchange::new(compute, &info, specs).unwrap();
    let turns = [1000, 2000, 3000].map(|first| {
        let mut turn = exchange.begin().unwrap();
        stamp(&mut turn, first);
        (turn.finish().unwrap(), first)
    });
    turns[2].0.computed().wait(Rig::LONG).unwrap();
    let readback = Readback::new(rig.device(), lens.iter().sum::<usize>() as u64 * 4);
    for (turn, first) in turns {
        let sources: Vec<_> = turn.resources().map(|buffer| (buffer.as_raw(), buffer.size())).collect();
        let want: Vec<u32> = lens.iter().zip(first..).flat_map(|(len, stamp)| vec![stamp; *len]).collect();
        assert!(readback.run(turn, &sources) == want, "stamps from {first} on");
    }
}

pub(crate) fn threads_share_a_pool(_: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    std::thread::scope(|scope| {
        for thread in 1..5 {
            let pool = pool.clone();
            scope.spawn(move || {
                let mut live = Vec::new();
                for round in 0..200 {
                    let len = thread * 97 + round % 31 * 200;
                    live.push(SharedBuffer::<u32>::new_in(&pool, "raft", len, READ).unwrap());
                    if live.len() > 9 {
                        live.swap_remove(round % 9);
                    }
                }
            });
        }
    });
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers, report.used), (1, 0, 0));
}

/// Buffers without an exchange, in a pool and with their own memory.
pub(crate) fn buffers_are_handed_over_by_hand(rig: &Rig, compute: &Compute) {
    let (device, pool) = (rig.device(), pool(compute, 64 << 10));
    let accesses = BufferAccess::TRANSFER_WRITE;
    let pooled = SharedBuffer::<u32>::new_in(&pool, "pooled", LEN, accesses).unwrap();
    let alone = SharedBuffer::<u32>::new(compute, "alone", LEN, accesses).unwrap();
    for buffer in [pooled, alone] {
        for round in 1..4 {
            let record = |commands| {
                // SAFETY: recording; the compute side is done with the buffer, which outlives the
                // call.
                unsafe { buffer.record_acquire(commands) };
                let raw = buffer.vulkan().as_raw();
                // SAFETY: recording, and acquired; the buffer has this length.
                unsafe { device.as_raw().cmd_fill_buffer(commands, raw, 0, 4 * LEN as u64, round) };
                // SAFETY: recording, and acquired.
                unsafe { buffer.record_release(commands) };
            };
            // SAFETY: the recorded commands use only the buffer.
            unsafe { device.run_once(device.queue(), "by hand", Rig::LONG, record) }.unwrap();
            assert!(seen(compute, &buffer) == [round; LEN], "round {round}");
        }
    }
}

fn seen(compute: &Compute, buffer: &SharedBuffer<u32>) -> Vec<u32> {
    // SAFETY: the compute side owns the buffer, and nothing else uses it.
    if let Some(words) = unsafe { buffer.host_mut() } {
        return words.to_vec();
    }
    // SAFETY: as above; the copy has ended when the call returns.
    let view = unsafe { buffer.cuda_mut() }.unwrap();
    compute.cuda().unwrap().stream().clone_dtoh(&view).unwrap()
}
