//! Long runs, during which memory use and the number of descriptors stay constant. `SOAK_FRAMES`,
//! `SOAK_INLINE_FRAMES`, `SOAK_CYCLES` and `SOAK_SLOTS` make them longer.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // Submissions.

use std::time::Instant;

use bridge::ash::vk;
use bridge::{
    Backend, BufferAccess, BufferSpec, Compute, ComputeTurn, Exchange, ExchangeInfo, ExportDevice, LaunchConfig,
    LiveObjects, QueueKind, TimelinePoint,
};
use bridge_tests::{Filler, Need, PROBE, Readback, Rig, open_descriptors, skip_case};

type Words = BufferSpec<u32>;

/// Bytes by which a process may grow in the second half of a run. Usually it grows by at most 20
/// KiB.
const ALLOWED: u64 = 256 << 10;

/// Additional bytes for each exchange that is created and dropped while the validation layer is
/// enabled, which keeps some memory for the objects that it has seen: 4.6 KiB per exchange on an
/// H100.
const ALLOWED_BY_THE_LAYER: u64 = 8 << 10;

/// Additional bytes for each frame that allocates and frees kernel memory: 0.4 KiB with a software
/// driver.
const ALLOWED_FOR_MEMORY: u64 = 1 << 10;

#[test]
fn long_runs_leave_nothing_behind() {
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(backend, "frames", frames);
        Rig::case(backend, "coming_and_going", coming_and_going);
        Rig::case(backend, "several_at_once", several_at_once);
    }
    let rig = Rig::open();
    if rig.device().has_buffer_device_address() {
        in_the_queue(&rig);
    } else {
        skip_case(Need::Other, "frames in the queue", "the device has no bufferDeviceAddress");
    }
}

/// Returns `true` if the validation layer is enabled.
fn watched(rig: &Rig) -> bool {
    rig.device().is_validated() || std::env::var_os("VK_INSTANCE_LAYERS").is_some()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Returns the resident bytes and the number of open descriptors of this process.
fn footprint() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = resident.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    (kibibytes << 10, open_descriptors())
}

/// Compares the footprints in the middle and at the end of a run. By then heaps have settled and
/// drivers have started their threads, so that any growth is unbounded growth.
fn assert_same(before: (u64, usize), after: (u64, usize), what: &str, rounds: u64, allowed: u64) {
    assert_eq!(before.1, after.1, "descriptors before and after {rounds} {what}");
    let grown = after.0.saturating_sub(before.0);
    eprintln!("{rounds} {what}: {} KiB became {} KiB", before.0 >> 10, after.0 >> 10);
    assert!(grown <= allowed, "{rounds} {what}: {} KiB became {} KiB", before.0 >> 10, after.0 >> 10);
}

fn exchange(compute: &Compute, slots: usize) -> Exchange<Words> {
    let info = ExchangeInfo { name: "soak", slots, timeout: Rig::LONG, ..Default::default() };
    Exchange::new(compute, &info, Words::new(256, BufferAccess::TRANSFER_READ)).unwrap()
}

fn frames(rig: &Rig, compute: &Compute) {
    let (mut frames, slots) = (setting("SOAK_FRAMES", 3000), setting("SOAK_SLOTS", 3));
    if compute.backend() == Backend::Host {
        frames = frames.min(100_000);
    }
    let filler = Filler::new(compute);
    run(rig, compute, frames, slots, 0, |turn, base| filler.fill(turn, base), |base| Filler::pattern(256, base));
}

/// Runs frames of the inline backend, with kernels if the device supports them and fills otherwise.
/// Each frame has its own kernel memory, which is freed with it.
fn in_the_queue(rig: &Rig) {
    let compute = Compute::inline(rig.device(), QueueKind::Graphics).unwrap();
    let (frames, slots) = (setting("SOAK_INLINE_FRAMES", 3000), setting("SOAK_SLOTS", 3));
    let alive = LiveObjects::now().kernel_memories;
    let kept = if watched(rig) { ALLOWED_FOR_MEMORY } else { 0 };
    if rig.device().has_cuda_kernels() {
        let add = compute.load("probe", PROBE).unwrap().kernel("add").unwrap();
        let filler = Filler::new(&compute);
        let work = |turn: &mut ComputeTurn<Words>, base| {
            filler.fill(turn, base);
            let memory = compute.kernel_memory("one", &[1_u32; 256]).unwrap();
            let work = turn.work().kernels().unwrap();
            let config = LaunchConfig::for_elements(256, 256);
            // SAFETY: the kernel's three parameters: two buffers of words, and their length.
            unsafe { work.launch(&add, &config, (work.resources, &memory, 256_u32)) }.unwrap();
        };
        run(rig, &compute, frames, slots, kept, work, |base| Filler::pattern(256, base.wrapping_add(1)));
    } else {
        skip_case(Need::Gpu, "kernels in the queue", "the device runs no CUDA kernels; its frames are fills");
        let device = rig.device();
        let work = |turn: &mut ComputeTurn<Words>, base| {
            drop(compute.kernel_memory("one", &[1_u32; 256]).unwrap());
            let work = turn.work().kernels().unwrap();
            let buffer = work.resources.as_raw().unwrap();
            let record = |commands| {
                let kernels = (vk::PipelineStageFlags2::COMPUTE_SHADER, vk::PipelineStageFlags2::ALL_TRANSFER);
                barrier(device, commands, kernels);
                // SAFETY: recording; the buffer consists of whole words, and may be filled.
                unsafe { device.as_raw().cmd_fill_buffer(commands, buffer, 0, vk::WHOLE_SIZE, base) };
                barrier(device, commands, (kernels.1, kernels.0));
            };
            // SAFETY: the fill has barriers from and to the surrounding commands, and uses the
            // turn's own buffer.
            unsafe { work.record(record) }.unwrap();
        };
        run(rig, &compute, frames, slots, kept, work, |base| vec![base; 256]);
    }
    assert_eq!(LiveObjects::now().kernel_memories, alive, "kernel memory outlives the frames");
}

fn barrier(
    device: &ExportDevice,
    commands: vk::CommandBuffer,
    (from, to): (vk::PipelineStageFlags2, vk::PipelineStageFlags2),
) {
    let all = vk::AccessFlags2::MEMORY_READ | vk::AccessFlags2::MEMORY_WRITE;
    let barrier = [vk::MemoryBarrier2::default()
        .src_stage_mask(from)
        .src_access_mask(all)
        .dst_stage_mask(to)
        .dst_access_mask(all)];
    let dependency = vk::DependencyInfo::default().memory_barriers(&barrier);
    // SAFETY: recording, outside a render pass.
    unsafe { device.cmd_pipeline_barrier2(commands, &dependency) };
}

/// Runs frames that `work` computes, and compares each with `expected`.
fn run(
    rig: &Rig,
    compute: &Compute,
    frames: u64,
    slots: u64,
    // Bytes by which each frame may make the process grow.
    kept: u64,
    work: impl Fn(&mut ComputeTurn<Words>, u32),
    expected: impl Fn(u32) -> Vec<u32>,
) {
    let slots = usize::try_from(slots).unwrap();
    let readbacks: Vec<_> = (0..slots).map(|_| Readback::new(rig.device(), 1024)).collect();
    let mut points: Vec<Option<TimelinePoint>> = vec![None; slots];
    let mut exchange = exchange(compute, slots);
    let mut before = None;
    let start = Instant::now();
    for frame in 0..frames {
        let mut turn = exchange.begin().unwrap();
        let base = u32::try_from(frame & 0xffff_ffff).unwrap();
        work(&mut turn, base);
        let turn = turn.finish().unwrap();
        let slot = turn.slot();
        if let Some(point) = &points[slot] {
            point.wait(Rig::LONG).unwrap();
            let old = u32::try_from((frame - slots as u64) & 0xffff_ffff).unwrap();
            assert!(readbacks[slot].words() == expected(old), "frame {frame}");
        }
        let commands = readbacks[slot].record(&turn, &[(turn.resources().as_raw(), 1024)]);
        // SAFETY: recorded with the turn's barriers; waited for before the readback is reused.
        points[slot] = Some(unsafe { turn.submit(&[commands]) }.unwrap());
        if frame == frames / 2 {
            before = Some(footprint());
        }
    }
    points.into_iter().flatten().for_each(|point| point.wait(Rig::LONG).unwrap());
    let per_frame = start.elapsed() / u32::try_from(frames).unwrap();
    let rounds = frames - frames / 2;
    assert_same(before.unwrap(), footprint(), "frames", rounds, ALLOWED + rounds * kept);
    eprintln!("{frames} frames, {slots} slots, {}: {per_frame:?} each", compute.backend());
    exchange.close().unwrap();
}

fn coming_and_going(rig: &Rig, compute: &Compute) {
    let cycles = setting("SOAK_CYCLES", 150);
    let alive = LiveObjects::now();
    let readback = Readback::new(rig.device(), 1024);
    let mut before = None;
    let start = Instant::now();
    for cycle in 0..cycles {
        let mut exchange = exchange(compute, 2);
        let turn = exchange.begin().unwrap().finish().unwrap();
        let source = (turn.resources().as_raw(), 1024);
        readback.run(turn, &[source]);
        exchange.close().unwrap();
        if cycle == cycles / 2 {
            before = Some(footprint());
        }
    }
    let rounds = cycles - cycles / 2;
    let allowed = ALLOWED + if watched(rig) { rounds * ALLOWED_BY_THE_LAYER } else { 0 };
    assert_same(before.unwrap(), footprint(), "cycles", rounds, allowed);
    assert_eq!(LiveObjects::now(), alive);
    eprintln!("{cycles} exchanges, {}: {:?} each", compute.backend(), start.elapsed() / u32::try_from(cycles).unwrap());
}

/// Runs four threads with a compute side and an exchange each, on one device and one queue.
fn several_at_once(rig: &Rig, compute: &Compute) {
    let frames = u32::try_from(setting("SOAK_FRAMES", 3000).min(20_000) / 10).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (device, backend) = (rig.device(), compute.backend());
            scope.spawn(move || {
                let compute = Compute::new(device, backend).unwrap();
                let (filler, readback) = (Filler::new(&compute), Readback::new(device, 1024));
                let mut exchange = exchange(&compute, 2);
                for frame in 0..frames {
                    let base = thread << 28 | frame;
                    let mut turn = exchange.begin().unwrap();
                    filler.fill(&mut turn, base);
                    let turn = turn.finish().unwrap();
                    let source = (turn.resources().as_raw(), 1024);
                    assert!(readback.run(turn, &[source]) == Filler::pattern(256, base), "{thread}: {frame}");
                }
                exchange.close().unwrap();
            });
        }
    });
}
