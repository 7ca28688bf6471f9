//! Frame graphs: what is captured, what each launch does, and what fails.
#![allow(unsafe_code, clippy::unwrap_used, reason = "captures and launches are unsafe")]
#![cfg(target_os = "linux")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::common::world::{LEN, NAME, TEXELS, device, import_image, import_memory, import_semaphore, map, map_image};
use crate::common::{assert_clean, raw};
use cuda_import::cudarc::driver::{CudaStream, DriverError};
use cuda_import::{
    CaptureError, CudaDevice, Error, ImportedSemaphore, MappedBuffer, SemaphoreKind, StreamGraph, query, signal_one,
    wait_one,
};
use driver_double::Double;

/// A buffer on a stream, and the two timelines of an exchange with their numbers.
struct Frames {
    rendered: ImportedSemaphore,
    computed: ImportedSemaphore,
    numbers: [u64; 2],
    buffer: MappedBuffer<u32>,
    home: Arc<CudaStream>,
    device: CudaDevice,
}

impl Frames {
    fn new(double: &Double) -> Self {
        let device = device();
        let home = device.new_stream().unwrap();
        let exported = [(); 2].map(|()| double.export_semaphore(true));
        let numbers = [exported[0].number, exported[1].number];
        let [rendered, computed] = exported.map(|it| import_semaphore(&device, it, SemaphoreKind::Timeline));
        let buffer = map(&import_memory(double, &device), &home);
        Self { rendered, computed, numbers, buffer, home, device }
    }

    /// Captures the work that `record` enqueues on a stream with the buffer.
    fn capture<E>(
        &mut self,
        record: impl FnOnce(&Arc<CudaStream>, &mut MappedBuffer<u32>) -> Result<(), E>,
    ) -> Result<StreamGraph, CaptureError<E>> {
        let Self { rendered, computed, buffer, home, .. } = self;
        // SAFETY: all of them outlive the graphs of these tests.
        unsafe { StreamGraph::capture(NAME, home, rendered, computed, |stream| record(stream, buffer)) }
    }

    fn fill(&mut self) -> StreamGraph {
        self.capture(|stream, buffer| stream.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut())).unwrap()
    }

    fn read(&self) -> Vec<u32> {
        self.home.clone_dtoh(&self.buffer.view()).unwrap()
    }
}

#[test]
fn a_launch_waits_works_and_signals() {
    let Some(double) = Double::in_child("graphs::a_launch_waits_works_and_signals") else { return };
    let mut frames = Frames::new(&double);
    let [rendered, computed] = frames.numbers;
    frames.home.memset_zeros(&mut frames.buffer.view_mut()).unwrap();
    double.forget_calls();
    let mut graph = frames.fill();
    let calls: Vec<_> =
        double.calls().into_iter().map(|call| call.name).filter(|it| !it.starts_with("cuCtx")).collect();
    let expected = "cuStreamIsCapturing cuStreamCreate cuStreamBeginCapture_v2 cuWaitExternalSemaphoresAsync \
                    cuMemcpyHtoDAsync_v2 cuStreamIsCapturing cuSignalExternalSemaphoresAsync cuStreamEndCapture cuGraphGetNodes cuGraphGetNodes \
                    cuGraphNodeGetType cuGraphNodeGetType cuGraphNodeGetType cuGraphInstantiateWithFlags cuGraphUpload \
                    cuStreamDestroy_v2";
    assert_eq!(calls.join(" "), expected);
    assert_eq!(frames.read(), [0; LEN], "it ran when it was captured");
    assert_eq!(double.value(computed), 0);

    // The launches are enqueued before the other side signals. Each launch has its own values.
    for value in 1..=3 {
        double.forget_calls();
        // SAFETY: the signals follow below, the values increase, everything that is used is alive.
        unsafe { graph.launch(value, 10 * value) }.unwrap();
        let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
        let expected = "cuCtxGetCurrent cuStreamIsCapturing cuGraphExecExternalSemaphoresWaitNodeSetParams \
                        cuGraphExecExternalSemaphoresSignalNodeSetParams cuGraphLaunch";
        assert_eq!(calls.join(" "), expected);
    }
    for value in 1..=3 {
        assert!(!query(&frames.home).unwrap());
        double.signal(rendered, value);
        assert_eq!(double.value(computed), 10 * value);
    }
    assert_eq!(frames.read(), [7; LEN]);
    drop((graph, frames));
    assert_clean(&double);
}

#[test]
fn a_graph_may_be_dropped_while_it_runs() {
    let Some(double) = Double::in_child("graphs::a_graph_may_be_dropped_while_it_runs") else { return };
    let mut frames = Frames::new(&double);
    let mut graph = frames.fill();
    // SAFETY: the signal follows below, everything that is used is alive.
    unsafe { graph.launch(1, 1) }.unwrap();
    drop(graph);
    assert!(!query(&frames.home).unwrap());
    double.signal(frames.numbers[0], 1);
    assert_eq!((double.value(frames.numbers[1]), frames.read()), (1, vec![7; LEN]));
    drop(frames);
    assert_clean(&double);
}

/// A closure that fails or panics leaves no capture behind and does not affect the home stream.
#[test]
fn an_abandoned_capture_leaves_nothing() {
    let Some(double) = Double::in_child("graphs::an_abandoned_capture_leaves_nothing") else { return };
    let mut frames = Frames::new(&double);
    let failed = frames.capture(|stream, buffer| {
        stream.memset_zeros(&mut buffer.view_mut()).unwrap();
        Err("on purpose")
    });
    assert!(matches!(failed, Err(CaptureError::Record("on purpose"))));
    let panicked = catch_unwind(AssertUnwindSafe(|| frames.capture::<()>(|_, _| panic!("on purpose"))));
    assert!(panicked.is_err());
    // Waiting for a captured stream invalidates the capture.
    let invalid = frames.capture(|stream, _| {
        let _ = stream.synchronize();
        Ok::<_, DriverError>(())
    });
    let text = invalid.unwrap_err().to_string();
    assert!(text.contains("CAPTURE_INVALIDATED (901)") && text.contains("before the capture"), "{text}");
    let mut graph = frames.fill();
    // SAFETY: timelines start at value 0, everything that is used is alive.
    unsafe { graph.launch(0, 1) }.unwrap();
    assert_eq!(frames.read(), [7; LEN]);
    drop((graph, frames));
    assert_clean(&double);
}

#[test]
fn graphs_that_cannot_be_launched_again_are_refused() {
    let Some(double) = Double::in_child("graphs::graphs_that_cannot_be_launched_again_are_refused") else { return };
    let mut frames = Frames::new(&double);
    let refused = |graph: Result<StreamGraph, CaptureError<Error>>| {
        let Err(CaptureError::Cuda(error @ Error::Graph { .. })) = graph else { panic!("{graph:?}") };
        error.to_string()
    };
    let exported = double.export_semaphore(true);
    let other = import_semaphore(&frames.device, exported, SemaphoreKind::Timeline);
    for wait in [true, false] {
        let graph = frames.capture(|stream, _| match wait {
            // SAFETY: nothing runs, and the timeline lives.
            true => unsafe { wait_one(stream, &other, 1) },
            // SAFETY: as above.
            false => unsafe { signal_one(stream, &other, 1) },
        });
        assert!(matches!(graph, Err(CaptureError::Record(Error::StreamCaptured { .. }))), "{graph:?}");
    }
    let (home, foreign_stream) = (Arc::clone(&frames.home), frames.device.new_stream().unwrap());
    for elsewhere in [home, foreign_stream] {
        let text = refused(frames.capture(|_, buffer| {
            elsewhere.memset_zeros(&mut buffer.view_mut()).unwrap();
            Ok(())
        }));
        assert!(text.contains(r#"graph "walked" on Double"#) && text.contains("the lent stream"), "{text}");
    }
    // A buffer with a different home stream, used on the captured one.
    let mut foreign = map(&import_memory(&double, &frames.device), &frames.device.new_stream().unwrap());
    let text = refused(frames.capture(|stream, _| {
        stream.memset_zeros(&mut foreign.view_mut()).unwrap();
        Ok(())
    }));
    assert!(text.contains("the lent stream"), "{text}");
    let mut inner = Frames::new(&double);
    let nested = frames.capture(|_, _| inner.capture(|_, _| Ok::<_, Error>(())).map(drop));
    let Err(CaptureError::Record(CaptureError::Cuda(error))) = nested else { panic!("{nested:?}") };
    assert!(error.to_string().contains("already capturing another graph"), "{error}");
    drop((other, foreign, inner, frames));
    assert_clean(&double);
}

/// A blocking copy cannot be captured: it is refused before it reaches the graph, which is
/// unaffected.
#[test]
fn copies_of_images_that_block_are_refused() {
    let Some(double) = Double::in_child("graphs::copies_of_images_that_block_are_refused") else { return };
    let mut frames = Frames::new(&double);
    let mut image = map_image(&import_image(&double, &frames.device), &frames.home);
    let (sender, receiver) = channel();
    // Runs on a separate thread, in case the call never returns.
    let captures = std::thread::spawn(move || {
        let mut texels = vec![[3; 4]; TEXELS];
        image.view_mut().write_from_host(&frames.home, 0, .., &texels).unwrap();
        texels.fill([0; 4]);
        let mut refused = Vec::new();
        let graph = frames.capture(|stream, buffer| {
            refused.push(image.view_mut().write_from_host(stream, 0, .., &texels));
            refused.push(image.view().read_to_host(stream, 0, .., &mut texels));
            stream.memcpy_htod(&[7u32; LEN], &mut buffer.view_mut())
        });
        let mut graph = graph.unwrap();
        for error in refused {
            assert!(matches!(error, Err(Error::StreamCaptured { .. })), "{error:?}");
        }
        // SAFETY: timelines start at value 0, everything that is used is alive.
        unsafe { graph.launch(0, 1) }.unwrap();
        image.view().read_to_host(&frames.home, 0, .., &mut texels).unwrap();
        assert_eq!((frames.read(), texels), (vec![7; LEN], vec![[3; 4]; TEXELS]));
        drop((graph, image, frames));
        sender.send(()).unwrap();
    });
    assert!(receiver.recv_timeout(Duration::from_secs(20)).is_ok(), "the call never returns, or failed");
    captures.join().unwrap();
    assert_clean(&double);
}

/// The double's own rules for captures and graphs.
#[test]
fn misused_captures_and_graphs() {
    let Some(double) = Double::in_child("graphs::misused_captures_and_graphs") else { return };
    raw::init();
    let context = raw::retain(0);
    let timeline = double.export_semaphore(true);
    let timeline = raw::import_semaphore(timeline, true).unwrap();
    let stream = raw::create_stream().unwrap();
    assert_eq!([raw::begin_capture(0), raw::begin_capture(stream), raw::begin_capture(stream)], [900, 0, 1]);
    assert_eq!(raw::signal(timeline, 5, stream), 0);
    assert_eq!(
        std::thread::spawn(move || {
            raw::retain(0);
            let ended = raw::end_capture(stream);
            raw::release(0);
            ended
        })
        .join()
        .unwrap(),
        Err(908)
    );
    let graph = raw::end_capture(stream).unwrap();
    assert_eq!(raw::end_capture(stream), Err(903));
    let exec = raw::instantiate(graph).unwrap();
    assert_eq!([raw::launch(exec, stream), raw::launch(exec, stream)], [0, 0]);
    assert_eq!([raw::destroy_graph(graph), raw::destroy_graph(graph)], [0, 400]);
    assert_eq!([raw::destroy_exec(exec), raw::launch(exec, stream)], [0, 400]);

    assert_eq!([raw::begin_capture(stream), raw::query(stream), raw::signal(timeline, 9, stream)], [0, 900, 901]);
    assert_eq!(raw::end_capture(stream), Err(901));
    assert_eq!([raw::begin_capture(stream), raw::destroy_stream(stream)], [0, 0]);
    assert_eq!([raw::destroy_semaphore(timeline), raw::release(0)], [0, 0]);
    let kinds: Vec<_> = double.findings().into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, ["value-not-rising", "use-after-destroy", "use-after-destroy", "capture-left"]);
    assert_ne!(context, 0);
    assert_clean(&double);
}
