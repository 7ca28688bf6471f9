//! Wrong use of graphs: each mistake results in one clear error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bridge::cuda_import::cudarc::driver::{LaunchConfig, PushKernelArg};
use bridge::{Compute, Error, FrameGraph, Stage, Work};
use bridge_tests::{Filler, Readback, Rig};

use crate::counter::{Counter, Memory, compute, exchange, read};
use crate::{LEN, SIZE, Words};

pub(crate) fn a_closure_that_fails_loses_one_frame(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let turn = compute(&mut exchange, &mut graph, &mut counter);
    assert!(read(&readback, turn) == Filler::pattern(LEN, 1));
    for panics in [false, true] {
        let fail = |_: usize, _: Work<'_, Words>| match panics {
            true => panic!("on purpose"),
            false => Err("on purpose".into()),
        };
        // SAFETY: nothing is enqueued.
        let failed = catch_unwind(AssertUnwindSafe(|| unsafe { exchange.compute_with(&mut graph, fail) }));
        match failed {
            Ok(Err(error @ Error::Record { frame: 1, slot: 1, .. })) if !panics => {
                assert!(error.to_string().contains("frame 1, slot 1, failed: on purpose"), "{error}");
            }
            Err(_) if panics => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 1, stage: Stage::Compute, .. })));
    }
    for frame in 1..6u32 {
        let turn = compute(&mut exchange, &mut graph, &mut counter);
        assert_eq!(turn.frame(), u64::from(frame));
        assert!(read(&readback, turn) == Filler::pattern(LEN, frame + 1), "frame {frame}");
    }
    assert_eq!(counter.recorded, counter.calls(6, 2));
}

pub(crate) fn the_graph_of_another_exchange_is_refused(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let (mut exchange, other) = (exchange(side, 2), exchange(side, 2));
    let mut foreign = FrameGraph::new(&other);
    // SAFETY: nothing is enqueued.
    let refused = unsafe { exchange.compute_with(&mut foreign, |_, _| panic!("called")) };
    let Err(error @ Error::InvalidArgument { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("FrameGraph::new"), "{error}");
    let mut graph = FrameGraph::new(&exchange);
    let turn = compute(&mut exchange, &mut graph, &mut counter);
    assert_eq!(turn.frame(), 0, "a frame had begun");
    assert!(read(&readback, turn) == Filler::pattern(LEN, 1));
}

/// Work that cannot be in the graph results in an error when it is captured, not in a wrong frame
/// later.
pub(crate) fn another_stream_is_refused(rig: &Rig, side: &Compute) {
    let readback = Readback::new(rig.device(), SIZE);
    let mut counter = Counter::new(side);
    let mut exchange = exchange(side, 2);
    let mut graph = FrameGraph::new(&exchange);
    let home = Arc::clone(side.cuda().unwrap().stream());
    let foreign_stream = side.cuda().unwrap().device().new_stream().unwrap();
    for elsewhere in [home, foreign_stream] {
        let stray = |_: usize, work: Work<'_, Words>| match work {
            Work::Cuda(mut cuda) => Ok(elsewhere.memset_zeros(&mut cuda.resources)?),
            _ => Err("not CUDA".into()),
        };
        // SAFETY: the enqueued work is refused.
        let refused = unsafe { exchange.compute_with(&mut graph, stray) };
        let Err(error @ Error::Cuda(_)) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("the lent stream"), "{error}");
        assert!(matches!(exchange.begin(), Err(Error::TurnLost { frame: 0, .. })));
    }
    // Copies on the lent stream are a part of the graph.
    let (memory, mut frame) = (&mut counter.memory, 0);
    let Memory::Cuda { count, one, add, .. } = memory else { panic!("not CUDA") };
    while frame < 6 {
        let copy = |_: usize, work: Work<'_, Words>| match work {
            Work::Cuda(mut cuda) => {
                let len = u32::try_from(LEN)?;
                let mut launch = cuda.stream.launch_builder(add);
                launch.arg(&mut *count).arg(&*one).arg(&len);
                // SAFETY: the kernel's three parameters; both have `len` elements.
                unsafe { launch.launch(LaunchConfig::for_num_elems(len)) }?;
                Ok(cuda.stream.memcpy_dtod(&*count, &mut cuda.resources)?)
            }
            _ => Err("not CUDA".into()),
        };
        // SAFETY: the counter outlives the graph.
        let turn = unsafe { exchange.compute_with(&mut graph, copy) }.unwrap();
        frame += 1;
        assert!(read(&readback, turn) == vec![frame; LEN], "frame {frame}");
    }
}
