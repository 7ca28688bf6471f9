//! A frame does not allocate on the heap.
#![allow(unsafe_code, clippy::unwrap_used)] // A counting allocator, and submissions.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bridge::ash::vk;
use bridge::vk_export::{ExportDevice, OpenInfo, Validation};
use bridge::{
    BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, FrameGraph, ImageAccess, ImageSpec, QueueKind, Work,
};
use bridge_tests::{Commands, Gate, Readback, Rig, assert_silent, on_both_backends, on_host_without_linear_images};
use bridge_view::{Element, ImageFormat, Look, View, ViewInfo};

struct Counting;

thread_local! {
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    COUNT.with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: forwards to the system allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: forwarded.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of this thread while `work` runs.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    COUNT.with(|count| count.set(Some(0)));
    let result = work();
    (COUNT.with(|count| count.replace(None)).unwrap_or(0), result)
}

on_both_backends!(
    the_frame_path_allocates_nothing,
    a_frame_with_a_graph_allocates_nothing,
    a_frame_of_images_allocates_nothing,
    the_picture_of_a_view_is_copied_without_allocating,
);
on_host_without_linear_images!(a_frame_of_images_allocates_nothing);

/// Counts the bridge's own steps on the calling thread. Allocations of the drivers (the software
/// driver makes some in `submit`, and the validation layer everywhere) do not count, so steps that
/// call a driver are compared with a bare call.
fn the_frame_path_allocates_nothing(rig: &Rig, compute: &Compute) {
    let spec = vec![BufferSpec::<u32>::new(1024, BufferAccess::TRANSFER_READ); 4];
    let mut exchange = Exchange::new(compute, &ExchangeInfo { name: "frugal", ..Default::default() }, spec).unwrap();
    let readback = Readback::new(rig.device(), 64);
    let mut counts = Vec::with_capacity(20);
    for frame in 0..20u64 {
        let (begun, mut turn) = allocations(|| exchange.begin().unwrap());
        let (worked, ()) = allocations(|| match turn.work() {
            Work::Host(host) => {
                let payload = [frame; 8];
                host.run(move |buffers| {
                    for words in buffers {
                        words[0] = u32::try_from(payload[7]).unwrap();
                    }
                })
                .unwrap();
            }
            Work::Cuda(cuda) => assert_eq!(cuda.resources.count(), 4),
            _ => unreachable!("no other backend is opened here"),
        });
        let (finished, turn) = allocations(|| turn.finish().unwrap());
        let commands = readback.record(&turn, &[]);
        let (parted, parts) = allocations(|| turn.resources().count());
        assert_eq!(parts, 4);
        // SAFETY: recorded with the turn's barriers.
        let (submitted, point) = allocations(|| unsafe { turn.submit(&[commands]) }.unwrap());
        point.wait(Rig::LONG).unwrap();
        counts.push((begun, worked, finished, parted, submitted));
    }
    let steady = &counts[10..];
    let submit = bare_submit(rig);
    for (begun, worked, finished, parted, submitted) in steady {
        assert_eq!((*begun, *worked, *finished, *parted), (0, 0, 0, 0), "{counts:?}");
        assert!(*submitted <= submit, "submit: {submitted}, a bare vkQueueSubmit2: {submit}; {counts:?}");
    }
}

/// With work in the Vulkan queue, a frame does not allocate either, even if it releases many
/// objects that earlier work used, here the kernel memory created for each frame.
#[test]
fn a_frame_that_records_into_the_queue_allocates_nothing() {
    let rig = Rig::open();
    let open = OpenInfo { buffer_device_address: true, validation: Validation::IfPresent, ..OpenInfo::default() };
    let device = ExportDevice::open(&open).unwrap();
    let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
    let info = ExchangeInfo { name: "frugal", slots: 4, ..Default::default() };
    let spec = BufferSpec::<u32>::new(1024, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &info, spec).unwrap();
    let readbacks: Vec<_> = (0..20).map(|_| Readback::new(&device, 64)).collect();
    let mut counts = Vec::with_capacity(60);
    for _ in 0..3 {
        // All frames of a round are in flight at once, and end at once.
        let gate = Gate::new(&device);
        gate.hold_queue(&device, QueueKind::Graphics);
        for (frame, readback) in (0..).zip(&readbacks) {
            let (begun, mut turn) = allocations(|| exchange.begin().unwrap());
            let (worked, ()) = allocations(|| {
                let Work::Inline(kernels) = turn.work() else { unreachable!("the backend is inline") };
                for _ in 0..3 {
                    // SAFETY: nothing is recorded.
                    unsafe { kernels.record(|_| {}) }.unwrap();
                }
            });
            for _ in 0..20 {
                drop(compute.kernel_memory("memory", &[frame]).unwrap());
            }
            let (finished, turn) = allocations(|| turn.finish().unwrap());
            let commands = readback.record(&turn, &[]);
            // SAFETY: recorded with the turn's barriers.
            let (submitted, point) = allocations(|| unsafe { turn.submit(&[commands]) }.unwrap());
            readback.note(point);
            counts.push([begun, worked, finished, submitted]);
        }
        // Dropping the gate opens it and waits for the queue.
    }
    assert_silent(&device);
    let submit = bare_submit(&rig);
    let is_steady =
        |[begun, worked, finished, submitted]: &[usize; 4]| begun + worked + finished == 0 && *submitted <= 2 * submit;
    assert!(counts[40..].iter().all(is_steady), "a bare vkQueueSubmit2: {submit}; {counts:?}");
}

/// A frame with a graph does not allocate once every slot has been captured. Frames are skipped, so
/// that only the compute side is counted.
fn a_frame_with_a_graph_allocates_nothing(_: &Rig, compute: &Compute) {
    let spec = BufferSpec::<u32>::new(1024, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &ExchangeInfo { name: "frugal", ..Default::default() }, spec).unwrap();
    let mut graph = FrameGraph::new(&exchange);
    let mut counts = Vec::with_capacity(20);
    for _ in 0..20 {
        let (count, turn) = allocations(|| {
            // SAFETY: the work only uses the frame's own buffer.
            unsafe {
                exchange.compute_with(&mut graph, |_, work| match work {
                    Work::Host(host) => Ok(host.run(|words| words.fill(1))?),
                    Work::Cuda(mut cuda) => Ok(cuda.stream.memset_zeros(&mut cuda.resources)?),
                    _ => unreachable!("no other backend is opened here"),
                })
            }
            .unwrap()
        });
        turn.computed().wait(Rig::LONG).unwrap();
        turn.skip();
        counts.push(count);
    }
    assert!(counts[10..].iter().all(|count| *count == 0), "{counts:?}");
}

/// Handing over images does not allocate, including copies if they are staged. The driver makes no
/// allocations here that count.
fn a_frame_of_images_allocates_nothing(rig: &Rig, compute: &Compute) {
    let accesses = ImageAccess::TRANSFER_READ | ImageAccess::TRANSFER_WRITE;
    let image = ImageSpec::<u32>::new(vk::Format::R32_UINT, [64, 32], accesses);
    let spec = vec![image.clone(), image.with_array_layers(3)];
    let mut exchange = Exchange::new(compute, &ExchangeInfo { name: "frugal", ..Default::default() }, spec).unwrap();
    let commands = Commands::new(rig.device());
    let mut counts = Vec::with_capacity(20);
    for _ in 0..20 {
        let (begun, turn) = allocations(|| exchange.begin().unwrap());
        let (finished, turn) = allocations(|| turn.finish().unwrap());
        let raw = commands.begin();
        // SAFETY: recording, for the turn's queue.
        let (acquired, ()) = allocations(|| unsafe { turn.record_acquire(raw) });
        // SAFETY: as above.
        let (released, ()) = allocations(|| unsafe { turn.record_release(raw) });
        commands.end();
        // SAFETY: recorded with the turn's barriers.
        unsafe { turn.submit(&[raw]) }.unwrap().wait(Rig::LONG).unwrap();
        counts.push([begun, finished, acquired, released]);
    }
    assert!(counts[10..].iter().all(|counts| *counts == [0; 4]), "{counts:?}");
}

/// After the first call, which creates the objects.
fn the_picture_of_a_view_is_copied_without_allocating(rig: &Rig, compute: &Compute) {
    let mut view = View::headless(compute, &ViewInfo { size: [64, 32], ..Default::default() }).unwrap();
    let format = ImageFormat::new([64, 32], 4, Element::U8).unwrap();
    let info = ExchangeInfo { name: "frugal", ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, format.spec::<u8>().unwrap()).unwrap();
    let mut pixels = vec![0; 4 * 64 * 32];
    let mut counts = Vec::with_capacity(10);
    for _ in 0..10 {
        view.show_image(exchange.begin().unwrap().finish().unwrap(), format, &Look::default()).unwrap();
        assert!(view.draw().unwrap());
        view.finish().unwrap();
        counts.push(allocations(|| view.pixels_into(&mut pixels).unwrap()).0);
    }
    let submit = bare_submit(rig);
    assert!(counts[1..].iter().all(|count| *count <= submit), "a bare vkQueueSubmit2: {submit}; {counts:?}");
}

/// Returns the number of allocations that the driver makes in a submission of the same shape.
fn bare_submit(rig: &Rig) -> usize {
    use bridge::vk_export::{Semaphore, SemaphoreInfo};

    let timeline = |name| Semaphore::new(rig.device(), &SemaphoreInfo { name, ..Default::default() }).unwrap();
    let (wait, signal) = (timeline("wait"), timeline("signal"));
    // SAFETY: nothing else signals it.
    unsafe { wait.signal(1) }.unwrap();
    let info = |semaphore: &Semaphore, value| {
        [vk::SemaphoreSubmitInfo::default()
            .semaphore(semaphore.as_raw())
            .value(value)
            .stage_mask(vk::PipelineStageFlags2::ALL_TRANSFER)]
    };
    let mut most = 0;
    for value in 1..10 {
        let (waits, signals) = (info(&wait, 1), info(&signal, value));
        let batch = vk::SubmitInfo2::default().wait_semaphore_infos(&waits).signal_semaphore_infos(&signals);
        let raw = rig.device().as_raw();
        let submit = |queue| {
            // SAFETY: live timelines of this device, values that increase, and the queue under its
            // lock.
            allocations(|| unsafe { raw.queue_submit2(queue, &[batch], vk::Fence::null()) }.unwrap())
        };
        let (count, ()) = rig.device().queue().with(submit).unwrap();
        most = most.max(count);
    }
    signal.wait(9, Rig::LONG).unwrap();
    most
}
