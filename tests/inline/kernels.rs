//! Kernels of one module on both compute sides that run them, on a GPU that supports both: the same
//! calls give the same bits.

use bridge::ash::vk;
use bridge::{
    Backend, BufferSpec, Compute, Exchange, ImageAccess, ImageSpec, Kernel, KernelMemory, LaunchConfig, QueueKind, Work,
};
use bridge_tests::{Filler, Gate, Need, PROBE, Readback, Rig, skip};

use super::{Inline, LEN, SIZE, info, words};

/// Opens an inline compute side that runs kernels, or skips the test.
fn open() -> Option<Inline> {
    let inline = Inline::open();
    if let Err(error) = Compute::new(&inline.device, Backend::Inline) {
        skip(Need::Gpu, &error.to_string());
        return None;
    }
    Some(inline)
}

fn config(len: usize) -> LaunchConfig {
    LaunchConfig::for_elements(len as u64, 256)
}

#[test]
fn every_frame_crosses_intact() {
    let Some(inline) = open() else { return };
    let filler = Filler::new(&inline.compute);
    let readback = Readback::new(&inline.device, SIZE);
    for slots in 1..=4 {
        let mut exchange = inline.exchange("words", slots);
        for frame in 0..20_u32 {
            let mut turn = exchange.begin().unwrap();
            filler.fill(&mut turn, frame * 1000);
            let turn = turn.finish().unwrap();
            let source = (turn.resources().as_raw(), SIZE);
            assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame * 1000), "frame {frame} of {slots}");
        }
        exchange.close().unwrap();
    }
    drop(readback);
    inline.finish();
}

/// The compute queue does not support graphics, but runs kernels too.
#[test]
fn frames_cross_on_the_compute_queue() {
    let Some(inline) = open() else { return };
    let compute = Compute::inline(&inline.device, QueueKind::Compute).unwrap();
    let filler = Filler::new(&compute);
    let readback = Readback::on(&inline.device, SIZE, QueueKind::Compute);
    let info = bridge::ExchangeInfo { queue: QueueKind::Compute, ..info("words", 2) };
    let mut exchange = Exchange::new(&compute, &info, words()).unwrap();
    for frame in 0..20_u32 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame);
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, frame), "frame {frame}");
    }
    exchange.close().unwrap();
    drop((readback, compute));
    inline.finish();
}

/// Both the frame and the host wait for a slow kernel.
#[test]
fn vulkan_waits_for_a_slow_kernel() {
    let Some(inline) = open() else { return };
    let filler = Filler::new(&inline.compute);
    let readback = Readback::new(&inline.device, SIZE);
    let mut exchange = inline.exchange("words", 2);
    for frame in 0..4_u32 {
        let gate = Gate::on(&inline.compute);
        let mut turn = exchange.begin().unwrap();
        gate.hold(&mut turn);
        filler.fill_after(&mut turn, frame * 1000, std::time::Duration::from_millis(2));
        let turn = turn.finish().unwrap();
        let computed = turn.computed();
        let commands = readback.record(&turn, &[(turn.resources().as_raw(), SIZE)]);
        // SAFETY: recorded with the turn's barriers; waited for below.
        let point = unsafe { turn.submit(&[commands]) }.unwrap();
        assert!(!computed.is_reached().unwrap() && !point.is_reached().unwrap(), "the gate holds nothing");
        gate.open();
        computed.wait(Rig::LONG).unwrap();
        point.wait(Rig::LONG).unwrap();
        assert!(readback.words() == Filler::pattern(LEN, frame * 1000));
    }
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}

/// State that is kept in the kernels' own memory over several frames, and dropped while kernels
/// that use it run.
fn accumulate(compute: &Compute, frames: u32) -> Vec<u32> {
    let module = compute.load("probe", PROBE).unwrap();
    let (fill, add) = (module.kernel("fill_after").unwrap(), module.kernel("add").unwrap());
    let mut exchange = Exchange::new(compute, &info("sums", 2), words()).unwrap();
    let readback = Readback::new(compute.device(), SIZE);
    let mut state = compute.kernel_memory("state", &vec![1_u32; LEN]).unwrap();
    let mut seen = Vec::new();
    for frame in 0..frames {
        let mut turn = exchange.begin().unwrap();
        let work = turn.work().kernels().unwrap();
        let (len, slot) = (LEN as u32, work.resources);
        // SAFETY: the parameters of `fill_after` and `add`, of these types, over `len` elements.
        unsafe {
            work.launch(&fill, &config(LEN), (slot, len, frame, 0_u64)).unwrap();
        }
        // SAFETY: as above.
        unsafe {
            work.launch(&add, &config(LEN), (slot, &state, len)).unwrap();
        }
        // The launch keeps what it uses alive.
        state = compute.kernel_memory("state", &vec![frame; LEN]).unwrap();
        let turn = turn.finish().unwrap();
        let source = (turn.resources().as_raw(), SIZE);
        seen.extend(readback.run(turn, &[source]));
    }
    exchange.close().unwrap();
    seen
}

#[test]
fn streams_and_command_buffers_compute_the_same() {
    let Some(inline) = open() else { return };
    let Some(cuda) = bridge_tests::compute(&inline.device, Backend::Cuda) else { return };
    let expected: Vec<u32> = (0..5_u32)
        .flat_map(|frame| (0..LEN as u32).map(move |i| frame + i + if frame == 0 { 1 } else { frame - 1 }))
        .collect();
    assert!(accumulate(&inline.compute, 5) == expected, "in command buffers");
    assert!(accumulate(&cuda, 5) == expected, "on a stream");
    drop(cuda);
    inline.finish();
}

/// A kernel stores every texel of an image through a surface.
fn store(compute: &Compute) -> Vec<u32> {
    let kernel = compute.load("probe", PROBE).unwrap().kernel("store_4").unwrap();
    let (width, height) = (61_u32, 43_u32);
    let spec = ImageSpec::<[u8; 4]>::new(vk::Format::R8G8B8A8_UNORM, [width, height], ImageAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info("texels", 2), spec).unwrap();
    let texels: Vec<u32> = (0..width * height).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    let from: KernelMemory<u32> = compute.kernel_memory("texels", &texels).unwrap();
    let mut turn = exchange.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    let surface = work.resources.surface(0).unwrap();
    let config = LaunchConfig::new([width.div_ceil(16), height.div_ceil(16), 1], [16, 16, 1]);
    // SAFETY: the parameters of `store_4`: a surface, as many texels, its width and height.
    unsafe { work.launch(&kernel, &config, (surface, &from, width, height)) }.unwrap();
    let seen = turn.finish().unwrap().read_back(Rig::LONG).unwrap();
    assert_eq!(bytemuck::cast_slice::<[u8; 4], u32>(&seen), texels);
    exchange.close().unwrap();
    texels
}

#[test]
fn images_are_stored_through_surfaces_on_both() {
    let Some(inline) = open() else { return };
    let Some(cuda) = bridge_tests::compute(&inline.device, Backend::Cuda) else { return };
    assert_eq!(store(&inline.compute), store(&cuda));
    drop(cuda);
    inline.finish();
}

/// Launches that would make a driver hang or lose the device, or that it would ignore, are refused
/// on both sides before the driver is called.
#[test]
fn invalid_launches_are_refused() {
    let Some(inline) = open() else { return };
    let kernel = inline.compute.load("probe", PROBE).unwrap().kernel("fill_after").unwrap();
    let mut exchange = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    let (slot, len) = (work.resources, LEN as u32);
    let refused = |result: bridge::Result<()>, needle: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("fill_after") && error.contains(needle), "{error}");
    };
    // SAFETY: the launch is refused, or the test fails.
    let result = unsafe { work.launch(&kernel, &config(LEN), (slot, len, 0_u32)) };
    refused(result, "4 arguments, but 3 were given");
    // SAFETY: as above.
    let result = unsafe { work.launch(&kernel, &config(LEN), (slot, len, 0_u32, 0_u32)) };
    refused(result, "argument 3 has 4 bytes");
    // SAFETY: as above.
    let result = unsafe { work.launch(&kernel, &config(LEN), (slot, len, 0_u32, 0_u64, 0_u64)) };
    refused(result, "5 were given");
    for (grid, block, needle) in [
        ([1, 1, 1], [0, 1, 1], "block"),
        ([1, 1, 1], [2048, 1, 1], "block"),
        ([0, 1, 1], [32, 1, 1], "grid"),
        ([1, 65_536, 1], [32, 1, 1], "grid"),
    ] {
        // SAFETY: as above.
        let result = unsafe { work.launch(&kernel, &LaunchConfig::new(grid, block), (slot, len, 0_u32, 0_u64)) };
        refused(result, needle);
    }
    // SAFETY: the kernel's four parameters.
    unsafe { work.launch(&kernel, &config(LEN), (slot, len, 7_u32, 0_u64)) }.unwrap();
    let readback = Readback::new(&inline.device, SIZE);
    let turn = turn.finish().unwrap();
    let source = (turn.resources().as_raw(), SIZE);
    assert!(readback.run(turn, &[source]) == Filler::pattern(LEN, 7), "what was refused left something behind");
    exchange.close().unwrap();
    drop(readback);
    inline.finish();
}

/// Errors that only the driver's compiler detects are reported with its log on a stream; for
/// command buffers there is no log, and the error says so.
#[test]
fn broken_text_is_reported_on_both() {
    let Some(inline) = open() else { return };
    let Some(cuda) = bridge_tests::compute(&inline.device, Backend::Cuda) else { return };
    let text = ".version 7.0\n.target sm_52\n.address_size 64\n.visible .entry brook() {\n    frobnicate.u32 %r1;\n    ret;\n}\n";
    let error = cuda.load("brook", text).unwrap_err();
    assert!(matches!(error, bridge::Error::Module { .. }), "{error:?}");
    let text_of = error.to_string();
    for part in ["\"brook\"", "CUDA_ERROR_INVALID_PTX (218)", "line 5"] {
        assert!(text_of.contains(part), "{part}: {text_of}");
    }
    let error = inline.compute.load("brook", text).unwrap_err().to_string();
    assert!(error.contains("vkCreateCuModuleNVX") && error.contains("no log"), "{error}");
    drop(cuda);
    inline.finish();
}

/// A kernel belongs to the compute side that it was loaded for.
#[test]
fn a_kernel_of_another_side_is_refused() {
    let Some(inline) = open() else { return };
    let Some(cuda) = bridge_tests::compute(&inline.device, Backend::Cuda) else { return };
    let kernel: Kernel = cuda.load("probe", PROBE).unwrap().kernel("fill_after").unwrap();
    let mut exchange: Exchange<BufferSpec<u32>> = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    let Work::Inline(work) = turn.work() else { panic!("not inline") };
    // SAFETY: the launch is refused, or the test fails.
    let result = unsafe { work.launch(&kernel, &config(LEN), (work.resources, LEN as u32, 0_u32, 0_u64)) };
    assert!(result.unwrap_err().to_string().contains("another compute side"));
    turn.skip().unwrap();
    exchange.close().unwrap();
    drop((kernel, cuda));
    inline.finish();
}

/// Over many frames nothing grows, and command buffers are reused.
#[test]
fn thousands_of_frames_use_a_few_command_buffers() {
    let Some(inline) = open() else { return };
    let filler = Filler::new(&inline.compute);
    let commands: Vec<_> = (0..3).map(|_| bridge_tests::Commands::new(&inline.device)).collect();
    let mut exchange = inline.exchange("words", 3);
    let mut descriptors = 0;
    for frame in 0..3000_u32 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, frame);
        let turn = turn.finish().unwrap();
        let own = &commands[turn.slot()];
        let raw = own.record(&turn, |_| {});
        // SAFETY: recorded with the turn's barriers; waited for before it is recorded again.
        own.note(unsafe { turn.submit(&[raw]) }.unwrap());
        if frame == 100 {
            descriptors = bridge_tests::open_descriptors();
        }
    }
    assert_eq!(bridge_tests::open_descriptors(), descriptors);
    drop(commands);
    exchange.close().unwrap();
    inline.finish();
}
