//! Captures of the compute side's own stream by the program: nothing of a frame gets into the
//! graph.

use std::sync::Arc;

use bridge::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use bridge::cudarc::driver::{CudaGraph, CudaStream};
use bridge::{Compute, Error, Exchange, FrameGraph, LiveObjects, RenderTurn, Work, cuda_import};
use bridge_tests::Rig;
use driver_double::Double;

use crate::{Words, info, with_double, words};

/// Kernel memory cannot be created during a capture, because the copy of its contents would read
/// them when the graph is launched, after the call has returned.
#[test]
fn kernel_memory_is_refused() {
    with_double("captured::kernel_memory_is_refused", |double, _, compute| refuses_kernel_memory(double, compute));
}

fn refuses_kernel_memory(double: &Double, compute: &Compute) {
    let stream = compute.cuda().unwrap().stream();
    let before = LiveObjects::now();
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    double.forget_calls();
    let whole = compute.kernel_memory("whole", &[1u32, 2]).map(drop).unwrap_err();
    let split = compute.kernel_memory_split("split", &[1u32, 2], std::slice::from_ref(&(0..2))).map(drop).unwrap_err();
    for error in [whole, split] {
        assert!(matches!(error, Error::Cuda(cuda_import::Error::StreamCaptured { .. })), "{error}");
    }
    let copies = double.calls().into_iter().filter(|call| call.name.starts_with("cuMem")).count();
    assert_eq!(copies, 0, "nothing gets into the graph");
    drop(stream.end_capture(CUgraphInstantiate_flags(0)).unwrap());
    assert_eq!(LiveObjects::now(), before);
    drop(compute.kernel_memory("after", &[1u32, 2]).unwrap());
}

/// Captures what `during` enqueues, and launches it twice. Returns the error of `during`, and the
/// number of its semaphore calls.
fn captured(double: &Double, stream: &Arc<CudaStream>, during: impl FnOnce() -> Result<(), Error>) -> (Error, usize) {
    stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    double.forget_calls();
    let error = during().unwrap_err();
    let semaphores = double.calls().into_iter().filter(|call| call.name.contains("ExternalSemaphores")).count();
    let graph: Option<CudaGraph> = stream.end_capture(CUgraphInstantiate_flags(0)).unwrap();
    for graph in graph.iter().chain(&graph) {
        graph.launch().unwrap();
    }
    (error, semaphores)
}

fn run(turn: RenderTurn<Words>) {
    // SAFETY: nothing is recorded between the barriers.
    unsafe { turn.run_once(Rig::LONG, |_, _| {}) }.unwrap();
}

/// Checks that the frame was refused, and is lost, which the next one reports once.
fn assert_refused(exchange: &mut Exchange<Words>, (error, semaphores): (Error, usize)) {
    assert!(matches!(error, Error::Cuda(cuda_import::Error::StreamCaptured { .. })), "{error}");
    assert_eq!(semaphores, 0, "nothing gets into the graph");
    let lost = exchange.begin().map(drop).unwrap_err();
    assert!(matches!(lost, Error::TurnLost { .. }), "{lost}");
}

/// A signal in the graph would be repeated with the same value at each launch.
#[test]
fn a_frame_is_not_finished() {
    with_double("captured::a_frame_is_not_finished", |double, _, compute| {
        let stream = compute.cuda().unwrap().stream();
        let mut exchange = Exchange::new(compute, &info(2), words()).unwrap();
        for _ in 0..3 {
            run(exchange.begin().unwrap().finish().unwrap());
            let turn = exchange.begin().unwrap();
            assert_refused(&mut exchange, captured(double, stream, || turn.finish().map(drop)));
        }
        run(exchange.begin().unwrap().finish().unwrap());
        exchange.close().unwrap();
    });
}

/// Neither a new graph of a frame nor one that was launched before becomes a part of the program's.
#[test]
fn a_frame_is_not_computed_as_a_graph() {
    with_double("captured::a_frame_is_not_computed_as_a_graph", |double, _, compute| {
        let stream = compute.cuda().unwrap().stream();
        let mut exchange = Exchange::new(compute, &info(1), words()).unwrap();
        let mut graph = FrameGraph::new(&exchange);
        let compute_with = |exchange: &mut Exchange<Words>, graph: &mut FrameGraph<Words>| {
            // SAFETY: only the frame's own buffer is used.
            unsafe {
                exchange.compute_with(graph, |_, work| {
                    let Work::Cuda(mut cuda) = work else { unreachable!() };
                    Ok(cuda.stream.memset_zeros(&mut cuda.resources)?)
                })
            }
        };
        for _ in 0..2 {
            let refused = captured(double, stream, || compute_with(&mut exchange, &mut graph).map(drop));
            assert_refused(&mut exchange, refused);
            run(compute_with(&mut exchange, &mut graph).unwrap());
        }
        drop(graph);
        exchange.close().unwrap();
    });
}
