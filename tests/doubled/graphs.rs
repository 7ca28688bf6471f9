//! Frames as graphs, and what the driver frees meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use bridge::{Compute, Exchange, FrameGraph, RenderTurn, Work};
use bridge_tests::{Gate, Rig};
use driver_double::Double;

use crate::{Words, info, words};

fn compute_with(exchange: &mut Exchange<Words>, graph: &mut FrameGraph<Words>) -> RenderTurn<Words> {
    // SAFETY: only the frame's own buffer is used.
    let turn = unsafe {
        exchange.compute_with(graph, |_, work| {
            let Work::Cuda(mut cuda) = work else { unreachable!() };
            Ok(cuda.stream.memset_zeros(&mut cuda.resources)?)
        })
    };
    turn.unwrap()
}

fn run(turn: RenderTurn<Words>) {
    // SAFETY: nothing is recorded between the barriers.
    unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap();
}

/// A graph that is used again after frames without it releases what was replaced meanwhile. The
/// driver frees nothing while a stream of the context waits, so this must not be freed on the
/// frame's thread.
pub(crate) fn a_graph_frees_nothing_that_was_replaced(double: &Double, _: &Rig, compute: &Compute) {
    let stream = compute.cuda().unwrap().device().new_stream().unwrap();
    let mut exchange = Exchange::new(compute, &info(2), words()).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    (0..2).for_each(|_| run(compute_with(&mut exchange, &mut graph)));
    exchange.replace(words()).unwrap();
    run(exchange.begin().unwrap().finish().unwrap());
    let gate = Gate::on_stream(compute, 0, &stream);
    gate.hold_stream();
    // What was replaced is no longer used: it is freed as soon as possible.
    (0..3).for_each(|_| run(exchange.begin().unwrap().finish().unwrap()));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run(compute_with(&mut exchange, &mut graph));
            ended.store(true, Ordering::SeqCst);
        });
        // The thread that frees it may block; the frame must not.
        double.wait_until("the frame ends", |_| ended.load(Ordering::SeqCst));
        gate.open();
    });
    run(exchange.begin().unwrap().finish().unwrap());
    drop(graph);
    exchange.close().unwrap();
}

/// If a launch fails, its frame and the slot's graph are lost.
pub(crate) fn a_graph_that_fails_is_captured_again(double: &Double, _: &Rig, compute: &Compute) {
    /// `CUDA_ERROR_OUT_OF_MEMORY`
    const OUT_OF_MEMORY: u32 = 2;
    let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    run(compute_with(&mut exchange, &mut graph));
    let mut captures = 0;
    let mut count = |exchange: &mut Exchange<Words>, graph: &mut FrameGraph<Words>| {
        // SAFETY: only the frame's own buffer is used.
        let turn = unsafe {
            exchange.compute_with(graph, |_, work| {
                captures += 1;
                let Work::Cuda(mut cuda) = work else { unreachable!() };
                Ok(cuda.stream.memset_zeros(&mut cuda.resources)?)
            })
        };
        turn.map(run).map(|()| captures)
    };
    assert_eq!(count(&mut exchange, &mut graph).unwrap(), 0, "the graph is launched again");
    double.fail_named("cuGraphLaunch", 1, OUT_OF_MEMORY);
    count(&mut exchange, &mut graph).unwrap_err();
    assert!(double.disarm().is_some(), "no graph is launched");
    // The frame is lost, as if its turn had been dropped.
    exchange.begin().map(drop).unwrap_err();
    assert_eq!(count(&mut exchange, &mut graph).unwrap(), 1);
    drop(graph);
    exchange.close().unwrap();
}
