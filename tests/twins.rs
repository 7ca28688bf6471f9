//! Rust twins of kernels: the same launches on the CPU backend, and refused launches.
#![allow(unsafe_code, clippy::unwrap_used)] // Launches.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, ImageAccess, ImageSpec, Kernel,
    KernelMemory, KernelModule, LatestInfo, LaunchConfig, LiveObjects, QueueKind, TwinImage, TwinSlice, Work,
};
use bridge_tests::{Gate, Rig, on_both_backends};

const LEN: usize = 1000;
const PTX: &str = "
.version 7.0
.target sm_52
.address_size 64
.visible .entry add(.param .u64 to, .param .u64 from, .param .u32 len) { ret; }
.visible .entry store(.param .u64 surface, .param .u64 from, .param .align 4 .b8 size[8]) { ret; }
.visible .entry idle() { ret; }
.visible .entry lonely(.param .u64 to) { ret; }
";

type Words = BufferSpec<u32>;
type Add = (TwinSlice<u32>, TwinSlice<u32>, u32);

fn module(compute: &Compute) -> KernelModule {
    compute
        .load("brook", PTX)
        .unwrap()
        .with_twin::<Add>("add", |_, (to, from, len)| {
            to.iter_mut().zip(&*from).take(len as usize).for_each(|(to, from)| *to = to.wrapping_add(*from));
        })
        .unwrap()
        .with_twin::<(TwinImage<u32>, TwinSlice<u32>, [u32; 2])>("store", |_, (mut image, from, [width, height])| {
            assert_eq!([image.width(), image.height()], [width as usize, height as usize]);
            let rows = image.rows_mut().zip(from.chunks_exact(width as usize));
            rows.for_each(|(to, from)| to.copy_from_slice(from));
        })
        .unwrap()
        .with_twin::<()>("idle", |_, ()| panic!("on purpose"))
        .unwrap()
}

/// Returns the rig and the CPU backend, which the tests need by name.
fn host() -> (Rig, Compute, KernelModule) {
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Host).unwrap();
    let module = module(&compute);
    (rig, compute, module)
}

fn exchange(compute: &Compute, name: &str) -> Exchange<Words> {
    let info = ExchangeInfo { name, slots: 2, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, BufferSpec::new(LEN, BufferAccess::TRANSFER_READ)).unwrap()
}

fn threads() -> LaunchConfig {
    LaunchConfig::for_elements(LEN as u64, 256)
}

fn fill(compute: &mut Exchange<Words>, word: u32) -> bridge::ComputeTurn<Words> {
    let mut turn = compute.begin().unwrap();
    let Work::Host(work) = turn.work() else { panic!("not the CPU") };
    work.run(move |words| words.fill(word)).unwrap();
    turn
}

/// Twins and closures run in the order of the calls; kernel memory persists from frame to frame.
#[test]
fn twins_run_in_the_order_of_the_calls() {
    let (_rig, compute, module) = host();
    let add = module.kernel("add").unwrap();
    let (mut one, mut other) = (exchange(&compute, "one"), exchange(&compute, "other"));
    let state = compute.kernel_memory("state", &[0_u32; LEN]).unwrap();
    for frame in 1..10_u32 {
        let (mut first, mut second) = (fill(&mut one, frame), fill(&mut other, 100));
        let (work, others) = (first.work().kernels().unwrap(), second.work().kernels().unwrap());
        let len = LEN as u32;
        // SAFETY: two slices of words, and their length.
        unsafe { work.launch(&add, &threads(), (&state, work.resources, len)) }.unwrap();
        // SAFETY: as above; both turns are open and belong to one `Compute`.
        unsafe { work.launch(&add, &threads(), (work.resources, others.resources, len)) }.unwrap();
        // SAFETY: as above.
        unsafe { others.launch(&add, &threads(), (others.resources, &state, len / 2)) }.unwrap();
        let seen = second.finish().unwrap().read_back(Rig::LONG).unwrap();
        let sum: u32 = (1..=frame).sum();
        assert!(seen[..LEN / 2] == [100 + sum; LEN / 2] && seen[LEN / 2..] == [100; LEN / 2], "frame {frame}");
        let seen = first.finish().unwrap().read_back(Rig::LONG).unwrap();
        assert!(seen == [100 + frame; LEN], "frame {frame}");
    }
    one.close().unwrap();
    other.close().unwrap();
}

on_both_backends!(surfaces_are_images_of_the_turn, memory_is_created_while_the_compute_side_waits);

/// The same launch works on both backends; CUDA has a kernel for it.
fn surfaces_are_images_of_the_turn(_: &Rig, compute: &Compute) {
    let size = [61_u32, 43];
    let texels: Vec<u32> = (0..size[0] * size[1]).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let spec = ImageSpec::<u32>::new(vk::Format::R32_UINT, size, ImageAccess::TRANSFER_READ);
    let info = ExchangeInfo { name: "texels", timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, spec).unwrap();
    let from = compute.kernel_memory("texels", &texels).unwrap();
    let mut turn = exchange.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    let surface = work.resources.surface(0).unwrap();
    let config = LaunchConfig::new([size[0].div_ceil(16), size[1].div_ceil(16), 1], [16, 16, 1]);
    if compute.backend() == Backend::Host {
        let error = work.resources.surface(1).unwrap_err().to_string();
        assert!(error.contains("level 1") && error.contains("planes"), "{error}");
        let store = module(compute).kernel("store").unwrap();
        // SAFETY: a surface, the same number of texels, and its width and height.
        unsafe { work.launch(&store, &config, (surface, &from, size)) }.unwrap();
    } else {
        let store = compute.load("probe", bridge_tests::PROBE).unwrap().kernel("store_4").unwrap();
        // SAFETY: as above.
        unsafe { work.launch(&store, &config, (surface, &from, size[0], size[1])) }.unwrap();
    }
    assert_eq!(turn.finish().unwrap().read_back(Rig::LONG).unwrap(), texels);
    exchange.close().unwrap();
}

#[test]
fn twins_that_do_not_fit_their_kernel_are_refused() {
    let (_rig, compute, module) = host();
    let refused = |result: bridge::Result<KernelModule>, needle: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Module { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("\"brook\"") && text.contains(needle), "{needle}: {text}");
    };
    let load = || compute.load("brook", PTX).unwrap();
    refused(load().with_twin::<()>("sub", |_, ()| {}), "it has add, store");
    refused(
        load().with_twin::<(TwinSlice<u32>,)>("add", |_, _| {}),
        "it takes 3 parameters, but its twin in Rust takes 1",
    );
    let wide = load().with_twin::<(TwinSlice<u32>, TwinSlice<u32>, u64)>("add", |_, _| {});
    refused(wide, "parameter 2 has 4 bytes, but that of its twin in Rust, u64, has 8");
    refused(load().with_twin::<(u32,)>("lonely", |_, _| {}), "parameter 0 has 8 bytes");
    let error = module.kernel("lonely").unwrap_err().to_string();
    assert!(error.contains("\"lonely\" has no twin in Rust") && error.contains("with_twin"), "{error}");
    let error = compute.load("brook", "no PTX").unwrap_err().to_string();
    assert!(error.contains("\"brook\""), "{error}");
}

#[test]
fn launches_without_a_matching_twin_are_refused() {
    let (_rig, compute, module) = host();
    let add = module.kernel("add").unwrap();
    let mut words = exchange(&compute, "words");
    let state = compute.kernel_memory("state", &[1_u32; LEN]).unwrap();
    let floats = compute.kernel_memory("floats", &[1.0_f32; LEN]).unwrap();
    let mut turn = fill(&mut words, 7);
    let work = turn.work().kernels().unwrap();
    let (slot, len) = (work.resources, LEN as u32);
    let refused = |result: bridge::Result<()>, needle: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Launch { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("kernel \"add\"") && text.contains(needle), "{needle}: {text}");
    };
    // SAFETY: refused, as the test checks.
    refused(unsafe { work.launch(&add, &threads(), (slot, &state)) }, "3 arguments, but 2 were given");
    // SAFETY: as above.
    refused(unsafe { work.launch(&add, &threads(), (slot, &state, 1_u64)) }, "argument 2 has 8 bytes");
    refused(
        // SAFETY: as above.
        unsafe { work.launch(&add, &threads(), (slot, &floats, len)) },
        "argument 1 is a buffer or kernel memory of its",
    );
    // SAFETY: as above.
    refused(unsafe { work.launch(&add, &threads(), (slot, state.address(), len)) }, "argument 1 is a value of 8 bytes");
    // SAFETY: as above.
    refused(unsafe { work.launch(&add, &threads(), (slot, slot, len)) }, "arguments 0 and 1 are the same memory");
    // SAFETY: as above.
    refused(unsafe { work.launch(&add, &LaunchConfig::for_elements(0, 256), (slot, &state, len)) }, "is empty");
    // SAFETY: nothing is recorded.
    let error = unsafe { work.record(|_| {}) }.unwrap_err().to_string();
    assert!(error.contains("HostWork::run"), "{error}");
    // SAFETY: two slices of words, and their length.
    unsafe { work.launch(&add, &threads(), (slot, &state, len)) }.unwrap();
    assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == [8; LEN], "what was refused left something behind");
    words.close().unwrap();
}

/// A lock, so that tests which count live objects run one at a time in the process.
static COUNTED: Mutex<()> = Mutex::new(());

/// The arguments of a launch live until its twin has run, whoever drops them, and no longer.
#[test]
fn arguments_live_until_their_twin_has_run() {
    let _counted = COUNTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (_rig, compute, module) = host();
    let add: Kernel = module.kernel("add").unwrap();
    drop(module);
    let mut words = exchange(&compute, "words");
    let state: KernelMemory<u32> = compute.kernel_memory("state", &[5_u32; LEN]).unwrap();
    let (open, gate) = channel::<()>();
    let mut turn = words.begin().unwrap();
    let Work::Host(work) = turn.work() else { panic!("not the CPU") };
    work.run(move |words| {
        gate.recv().unwrap();
        words.fill(1);
    })
    .unwrap();
    let work = turn.work().kernels().unwrap();
    // SAFETY: two slices of words, and their length.
    unsafe { work.launch(&add, &threads(), (work.resources, &state, LEN as u32)) }.unwrap();
    drop((state, add));
    let kept = LiveObjects::now().kernel_memories;
    assert!(kept >= 1);
    open.send(()).unwrap();
    assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == [6; LEN]);
    // An exchange with a pending twin is waited for.
    let state = compute.kernel_memory("state", &[5_u32; LEN]).unwrap();
    let mut turn = words.begin().unwrap();
    let Work::Host(work) = turn.work() else { panic!("not the CPU") };
    let (open, gate) = channel::<()>();
    work.run(move |_| gate.recv().unwrap()).unwrap();
    let work = turn.work().kernels().unwrap();
    // SAFETY: as above.
    unsafe { work.launch(&add_again(&compute), &threads(), (work.resources, &state, LEN as u32)) }.unwrap();
    drop((turn, state));
    open.send(()).unwrap();
    drop(words);
    drop(compute);
    assert!(LiveObjects::now().kernel_memories < kept, "kernel memory outlives what used it");
}

fn add_again(compute: &Compute) -> Kernel {
    module(compute).kernel("add").unwrap()
}

/// A twin that panics is reported like a closure that panics.
#[test]
fn a_twin_that_panics_is_reported() {
    let (_rig, compute, module) = host();
    let idle = module.kernel("idle").unwrap();
    let mut words = exchange(&compute, "words");
    let mut turn = words.begin().unwrap();
    // SAFETY: no arguments.
    unsafe { turn.work().kernels().unwrap().launch(&idle, &threads(), ()) }.unwrap();
    // The twin may or may not have run before this call.
    let finished = turn.finish().and_then(|turn| {
        let waited = turn.computed().wait(Rig::LONG).and_then(|()| compute.check_alive());
        turn.skip();
        waited
    });
    let error = finished.unwrap_err().to_string();
    assert!(error.contains("on purpose"), "{error}");
    drop(words);
}

/// Kernel memory of another stream is refused, because two streams are not ordered: one may free or
/// write memory that the other still uses.
#[test]
fn memory_of_another_stream_is_refused() {
    let (rig, compute, module) = host();
    let kernel = module.kernel("add").unwrap();
    let memory = |compute: &Compute| compute.kernel_memory("brook", &[1_u32; LEN]).unwrap();
    let refused = |launched: Result<(), Error>| {
        let refused = launched.unwrap_err().to_string();
        assert!(refused.contains("kernel memory \"brook\" belongs to another stream"), "{refused}");
    };

    let another = Compute::new(rig.device(), Backend::Host).unwrap();
    let (own, foreign) = (memory(&compute), memory(&another));
    let mut exchange = exchange(&compute, "stray");
    let mut turn = exchange.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    // SAFETY: the twin's arguments.
    refused(unsafe { work.launch(&kernel, &threads(), (work.resources, &foreign, LEN as u32)) });
    // SAFETY: as above.
    unsafe { work.launch(&kernel, &threads(), (work.resources, &own, LEN as u32)) }.unwrap();
    turn.skip().unwrap();

    // A latest exchange has its own stream.
    let info = LatestInfo { name: "stray", timeout: Rig::LONG, ..Default::default() };
    let spec = BufferSpec::<u32>::new(LEN, BufferAccess::TRANSFER_READ);
    let (mut writer, _reader) = Exchange::latest(&compute, &info, spec).unwrap();
    let near = memory(writer.compute());
    let mut turn = writer.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    // SAFETY: the twin's arguments.
    refused(unsafe { work.launch(&kernel, &threads(), (work.resources, &own, LEN as u32)) });
    // SAFETY: as above.
    unsafe { work.launch(&kernel, &threads(), (work.resources, &near, LEN as u32)) }.unwrap();
    turn.publish().unwrap();
}

/// Creating kernel memory does not wait for the compute side. With one slot, the compute side waits
/// for the previous frame, which waits for the engine. The memory is larger than the driver stages
/// from pageable memory.
fn memory_is_created_while_the_compute_side_waits(rig: &Rig, compute: &Compute) {
    let info = ExchangeInfo { name: "brook", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let mut exchange = Exchange::new(compute, &info, Words::new(LEN, BufferAccess::TRANSFER_READ)).unwrap();
    let gate = Gate::new(rig.device());
    let turn = exchange.begin().unwrap().finish().unwrap();
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    // SAFETY: no commands.
    unsafe { turn.submit(&[]) }.unwrap();
    let turn = exchange.begin().unwrap();
    let (made, is_made) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || made.send(compute.kernel_memory("brook", &vec![7_u32; 4 << 20]).unwrap()));
        let memory = is_made.recv_timeout(Rig::LONG);
        assert!(!gate.is_open());
        gate.open();
        memory.expect("it waits for the compute side");
    });
    turn.skip().unwrap();
    exchange.close().unwrap();
}
