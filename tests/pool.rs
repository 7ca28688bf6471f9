//! Many shared buffers in few allocations: as good as buffers of their own, and never one over another.
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bridge::ash::vk;
use bridge::vk_export::{Block, BlockInfo, Buffer, Error, Placement};
use bridge::{
    Backend, BufferSpec, Compute, ComputeTurn, Consumer, Exchange, ExchangeInfo, LiveObjects, PoolReport, SharedBuffer,
    SharedPool, SharedPoolInfo, Work, trace_off, trace_to,
};
use bridge_tests::{Filler, Need, Readback, Rig, on_both_backends, open_descriptors, skip};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

on_both_backends!(
    pooled_exchanges_cross_whole,
    no_buffer_lies_over_another,
    a_thousand_buffers_take_few_imports,
    memory_comes_back,
    random_lives_keep_apart,
    threads_share_a_pool,
    a_range_is_reused_only_after_the_last_frame,
    what_is_leaked_never_comes_back,
    nothing_is_left_open,
    what_cannot_be_is_refused_by_name,
);

const LEN: usize = 10_000;
const READ: Consumer = Consumer::TRANSFER_READ;

fn pool(compute: &Compute, block_size: u64) -> SharedPool {
    SharedPool::new(compute, &SharedPoolInfo { name: "brook", block_size, ..Default::default() }).unwrap()
}

fn in_pool<'a>(name: &'a str, pool: &'a SharedPool) -> ExchangeInfo<'a> {
    ExchangeInfo { name, pool: Some(pool), timeout: Rig::LONG, ..Default::default() }
}

/// Where a buffer's bytes are: its Vulkan memory is the block, by the descriptor's offset; on the CPU a pointer says it.
fn place(buffer: &SharedBuffer<u32>) -> (u64, u64) {
    let start = match buffer.vulkan().host_ptr() {
        Some(pointer) => pointer.addr().get() as u64,
        // SAFETY: nothing is read or written.
        None => unsafe { buffer.cuda_mut() }.unwrap().as_raw(),
    };
    (start, buffer.vulkan().size())
}

fn pooled_exchanges_cross_whole(rig: &Rig, compute: &Compute) {
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
            filler.fill(&mut turn, base, Duration::ZERO);
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
    }
}

/// All buffers are written before any is read, so what lies over another shows the wrong stamp.
fn no_buffer_lies_over_another(rig: &Rig, compute: &Compute) {
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

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn count(&self, event: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count()
    }
}

fn a_thousand_buffers_take_few_imports(_: &Rig, compute: &Compute) {
    let sink = Sink::default();
    let before = LiveObjects::now();
    trace_to(sink.clone());
    let pool = pool(compute, 1 << 20);
    let buffers: Vec<SharedBuffer<u32>> =
        (0..1000).map(|_| SharedBuffer::new_in(&pool, "drop", 1000, READ).unwrap()).collect();
    trace_off();
    let report = pool.report();
    assert_eq!(report.buffers, 1000);
    // 4096 bytes each: 256 a block.
    assert_eq!(report.blocks, 4);
    assert_eq!((report.allocated, report.used), (4 << 20, 1000 * 4096));
    let now = LiveObjects::now();
    assert_eq!((now.blocks - before.blocks, now.buffers - before.buffers), (4, 1000));
    let crossings = if compute.backend() == Backend::Cuda { report.blocks } else { 0 };
    assert_eq!((sink.count("export"), sink.count("import")), (crossings, crossings));
    assert_eq!(sink.count("create"), 1004);
    drop((buffers, pool));
    assert_eq!(LiveObjects::now().blocks, before.blocks);
}

fn memory_comes_back(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    let pool = pool(compute, 64 << 10);
    let make = |len| SharedBuffer::<u32>::new_in(&pool, "wave", len, READ).unwrap();
    let (small, half) = (make(1), make(8192));
    assert_eq!(pool.report().blocks, 1);
    // Does not fit beside them, but into a block.
    let whole = make(16_384);
    assert_eq!(pool.report().blocks, 2);
    // Larger than any block: one of its own, which goes with it.
    let larger = make(1 << 20);
    let report = pool.report();
    assert_eq!((report.blocks, report.allocated), (3, (64 << 10) * 2 + (4 << 20)));
    drop(larger);
    assert_eq!(pool.report().blocks, 2);
    drop(whole);
    assert_eq!(pool.report().blocks, 2, "one empty block stays");
    let start = place(&half).0;
    drop((small, half));
    let empty = pool.report();
    assert_eq!((empty.blocks, empty.buffers, empty.used), (1, 0, 0), "one empty block, not two");
    let again = make(16_384);
    assert_eq!(pool.report().blocks, 1);
    // A buffer keeps what it needs of its pool.
    drop(pool);
    assert_eq!(LiveObjects::now().blocks, before.blocks + 1);
    assert_ne!(start, 0);
    drop(again);
    assert_eq!(LiveObjects::now(), before);
}

fn random_lives_keep_apart(_: &Rig, compute: &Compute) {
    let pool = pool(compute, 128 << 10);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(20) });
    let steps = prop::collection::vec((any::<bool>(), 1usize..20_000, any::<prop::sample::Index>()), 1..60);
    runner
        .run(&steps, |steps| {
            let mut live: Vec<SharedBuffer<u32>> = Vec::new();
            for (make, len, index) in steps {
                if make || live.is_empty() {
                    let made = SharedBuffer::new_in(&pool, "life", len, READ).unwrap();
                    let (start, size) = place(&made);
                    prop_assert!(made.vulkan().host_ptr().is_some() || start.is_multiple_of(256));
                    for other in &live {
                        let (other, other_size) = place(other);
                        prop_assert!(start + size <= other || other + other_size <= start);
                    }
                    live.push(made);
                } else {
                    live.swap_remove(index.index(live.len()));
                }
                prop_assert_eq!(pool.report().buffers, live.len());
            }
            Ok(())
        })
        .unwrap();
    let report = pool.report();
    assert_eq!((report.blocks, report.buffers, report.used), (1, 0, 0));
}

fn threads_share_a_pool(_: &Rig, compute: &Compute) {
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

/// Drops an exchange whose compute side is still writing, and takes the same bytes for another at once.
fn a_range_is_reused_only_after_the_last_frame(rig: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    let filler = Filler::new(compute);
    let slow = Duration::from_millis(60);
    let spec = BufferSpec::<u32>::new(LEN, READ);
    let readback = Readback::new(rig.device(), 4 * LEN as u64);
    let info = |name| ExchangeInfo { slots: 1, ..in_pool(name, &pool) };
    let mut old = Exchange::new(compute, &info("old"), spec.clone()).unwrap();
    let mut turn = old.begin().unwrap();
    filler.fill(&mut turn, 1, slow);
    let turn = turn.finish().unwrap();
    let point = turn.computed().clone();
    assert!(!point.is_reached().unwrap(), "the computation is too fast to prove anything");
    turn.skip();
    drop(old);
    assert!(point.is_reached().unwrap());
    assert_eq!(pool.report().buffers, 0);

    let mut new = Exchange::new(compute, &info("new"), spec).unwrap();
    assert_eq!(pool.report().blocks, 1, "the same bytes");
    let mut turn = new.begin().unwrap();
    filler.fill(&mut turn, 5000, Duration::ZERO);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), turn.resources().size());
    assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 5000));
}

fn what_is_leaked_never_comes_back(_: &Rig, compute: &Compute) {
    let pool = pool(compute, 64 << 10);
    let spec = BufferSpec::<u32>::new(4096, READ);
    let info = ExchangeInfo { slots: 1, timeout: Duration::from_millis(200), ..in_pool("lost", &pool) };
    let mut exchange = Exchange::new(compute, &info, spec.clone()).unwrap();
    let mut turn = exchange.begin().unwrap();
    let filler = Filler::new(compute);
    filler.fill(&mut turn, 1, Duration::from_secs(1));
    let turn = turn.finish().unwrap();
    let point = turn.computed().clone();
    turn.skip();
    // It is still being written.
    exchange.close().unwrap_err();
    assert_eq!(pool.report().buffers, 1);
    let made: Vec<_> = (0..4).map(|_| SharedBuffer::<u32>::new_in(&pool, "found", 4096, READ).unwrap()).collect();
    assert_eq!(pool.report().blocks, 2, "a fourth has no room beside the leaked one");
    drop(made);
    let report = pool.report();
    assert_eq!((report.buffers, report.used), (1, 16_384));
    point.wait(Rig::LONG).unwrap();
}

fn nothing_is_left_open(_: &Rig, compute: &Compute) {
    let round = || {
        let pool = pool(compute, 64 << 10);
        let make = |_| SharedBuffer::<u32>::new_in(&pool, "leaf", 3000, READ).unwrap();
        let buffers: Vec<_> = (0..30).map(make).collect();
        assert!(pool.report().blocks > 1);
        drop(buffers);
    };
    round();
    let before = (open_descriptors(), LiveObjects::now());
    (0..30).for_each(|_| round());
    assert_eq!((open_descriptors(), LiveObjects::now()), before);
}

fn what_cannot_be_is_refused_by_name(rig: &Rig, compute: &Compute) {
    let error = |info: SharedPoolInfo<'_>| SharedPool::new(compute, &info).unwrap_err().to_string();
    let info = SharedPoolInfo { name: "brook", ..Default::default() };
    let zero = error(SharedPoolInfo { block_size: 0, ..info });
    assert!(zero.contains("shared pool \"brook\"") && zero.contains("0 bytes"), "{zero}");
    let huge = error(SharedPoolInfo { block_size: u64::MAX, ..info });
    assert!(huge.contains("\"brook\"") && huge.contains("512 GiB"), "{huge}");
    let unused = error(SharedPoolInfo { usage: vk::BufferUsageFlags::empty(), ..info });
    assert!(unused.contains("brook.block0") && unused.contains("usage is empty"), "{unused}");

    let vertices = SharedPoolInfo { usage: Consumer::VERTEX_INPUT.usage, block_size: 64 << 10, ..info };
    let vertices = SharedPool::new(compute, &vertices).unwrap();
    let before = vertices.report();
    let error = |len, consumer| SharedBuffer::<u32>::new_in(&vertices, "fish", len, consumer).unwrap_err().to_string();
    let none = error(0, Consumer::VERTEX_INPUT);
    assert!(none.contains("shared buffer \"fish\"") && none.contains("at least one element"), "{none}");
    let uncountable = error(usize::MAX, Consumer::VERTEX_INPUT);
    assert!(uncountable.contains("more bytes than this machine can address"), "{uncountable}");
    let too_large = error(1 << 60, Consumer::VERTEX_INPUT);
    assert!(too_large.contains("brook.block") && too_large.contains(rig.device().name()), "{too_large}");
    let other_use = error(16, Consumer::TRANSFER_READ);
    assert!(other_use.contains("\"brook\"") && other_use.contains("TRANSFER_SRC"), "{other_use}");

    let stranger = Compute::new(rig.device(), compute.backend()).unwrap();
    let spec = BufferSpec::<u32>::new(16, Consumer::VERTEX_INPUT);
    let foreign = Exchange::new(&stranger, &in_pool("stray", &vertices), spec).unwrap_err().to_string();
    assert!(foreign.contains("\"brook\"") && foreign.contains("another Compute"), "{foreign}");
    assert_eq!(vertices.report(), before, "nothing was taken");
    assert_ne!(before, PoolReport::default());
}

fn block(rig: &Rig, placement: Placement) -> Result<Arc<Block>, Error> {
    let usage = (READ | Consumer::VERTEX_INPUT).usage;
    Block::new(rig.device(), &BlockInfo { name: "slab", size: 64 << 10, usage, placement })
}

#[test]
fn buffers_in_a_block_say_where_they_are() {
    let rig = Rig::open();
    let block = match block(&rig, Placement::Exportable) {
        Ok(block) => block,
        Err(error @ (Error::NotExportable { .. } | Error::Missing { .. })) => {
            return skip(Need::Gpu, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    let alignment = block.alignment();
    assert!(alignment.is_power_of_two());
    let whole = block.export().unwrap().descriptor;
    assert_eq!((whole.offset, whole.size, whole.dedicated), (0, whole.allocation_size, false));
    assert!(whole.allocation_size >= 64 << 10);
    let buffers: HashMap<u64, Buffer> = [0, 4, 9]
        .map(|index| index * alignment.max(256))
        .map(|offset| (offset, Buffer::new_in(&block, "slice", offset, 100).unwrap()))
        .into();
    drop(block);
    for (offset, buffer) in buffers {
        let descriptor = buffer.export().unwrap().descriptor;
        assert_eq!((descriptor.offset, descriptor.size, &*descriptor.name), (offset, 100, "slice"));
        assert_eq!((descriptor.allocation_size, descriptor.dedicated), (whole.allocation_size, false));
    }
}

#[test]
fn what_does_not_fit_a_block_is_refused() {
    let rig = Rig::open();
    let block = block(&rig, Placement::HostVisible).unwrap();
    assert!(block.export().unwrap_err().to_string().contains("HostVisible"));
    let error = |offset, size| Buffer::new_in(&block, "slice", offset, size).unwrap_err().to_string();
    let named = "buffer \"slice\" in block \"slab\"";
    if block.alignment() > 1 {
        let odd = error(block.alignment() + 1, 16);
        assert!(odd.contains(named) && odd.contains("not a multiple of"), "{odd}");
    }
    for (offset, size) in [(0, (64 << 10) + 1), (64 << 10, 1), (!0xffff, 1 << 20)] {
        let outside = error(offset, size);
        assert!(outside.contains(named) && outside.contains("do not lie inside"), "{outside}");
    }
    assert!(error(0, 0).contains("0 bytes"));
    let buffer = Buffer::new_in(&block, "slice", 4096, 16).unwrap();
    let first = Buffer::new_in(&block, "slice", 0, 16).unwrap();
    let address = |buffer: &Buffer| buffer.host_ptr().unwrap().addr().get();
    assert_eq!(address(&buffer) - address(&first), 4096);
    drop((block, first));
    // SAFETY: 16 bytes of a block that the buffer keeps, and that nobody else uses.
    unsafe { buffer.host_ptr().unwrap().write_bytes(7, 16) };
}

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    shared::<SharedPool>();
};
