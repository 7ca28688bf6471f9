//! Long runs: memory and descriptors stay as they are. `SOAK_FRAMES`, `SOAK_CYCLES` and `SOAK_SLOTS` make them longer.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::unwrap_used)] // Submitting.

use std::time::Instant;

use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, LiveObjects, TimelinePoint};
use bridge_tests::{Filler, Readback, Rig, open_descriptors};

type Words = BufferSpec<u32>;

/// Bytes by which a process may grow in the second half of a run. It does by some 20 KiB at most.
const ALLOWED: u64 = 256 << 10;

/// The same for each exchange that comes and goes where the validation layer listens, which keeps some memory of the objects that it
/// has seen: 4.6 KiB an exchange on an H100.
const ALLOWED_BY_THE_LAYER: u64 = 8 << 10;

#[test]
fn long_runs_leave_nothing_behind() {
    for backend in [Backend::Host, Backend::Cuda] {
        Rig::case(backend, "frames", frames);
        Rig::case(backend, "coming_and_going", coming_and_going);
        Rig::case(backend, "several_at_once", several_at_once);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Resident bytes and open descriptors of this process.
fn footprint() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = resident.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    (kibibytes << 10, open_descriptors())
}

/// Compares the footprints in the middle and at the end of a run, when heaps have settled and drivers have started their
/// threads: what grows then, grows for ever.
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
    let slots = usize::try_from(slots).unwrap();
    let filler = Filler::new(compute);
    let readbacks: Vec<_> = (0..slots).map(|_| Readback::new(rig.device(), 1024)).collect();
    let mut points: Vec<Option<TimelinePoint>> = vec![None; slots];
    let mut exchange = exchange(compute, slots);
    let mut before = None;
    let start = Instant::now();
    for frame in 0..frames {
        let mut turn = exchange.begin().unwrap();
        let base = u32::try_from(frame & 0xffff_ffff).unwrap();
        filler.fill(&mut turn, base);
        let turn = turn.finish().unwrap();
        let slot = turn.slot();
        if let Some(point) = &points[slot] {
            point.wait(Rig::LONG).unwrap();
            let old = u32::try_from((frame - slots as u64) & 0xffff_ffff).unwrap();
            assert!(readbacks[slot].words() == Filler::pattern(256, old), "frame {frame}");
        }
        let commands = readbacks[slot].record(&turn, &[(turn.resources().as_raw(), 1024)]);
        // SAFETY: recorded with the turn's barriers; waited for before the readback is used again.
        points[slot] = Some(unsafe { turn.submit(&[commands]) }.unwrap());
        if frame == frames / 2 {
            before = Some(footprint());
        }
    }
    points.into_iter().flatten().for_each(|point| point.wait(Rig::LONG).unwrap());
    let per_frame = start.elapsed() / u32::try_from(frames).unwrap();
    assert_same(before.unwrap(), footprint(), "frames", frames - frames / 2, ALLOWED);
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
    let watched = rig.device().is_validated() || std::env::var_os("VK_INSTANCE_LAYERS").is_some();
    let allowed = ALLOWED + if watched { rounds * ALLOWED_BY_THE_LAYER } else { 0 };
    assert_same(before.unwrap(), footprint(), "cycles", rounds, allowed);
    assert_eq!(LiveObjects::now(), alive);
    eprintln!("{cycles} exchanges, {}: {:?} each", compute.backend(), start.elapsed() / u32::try_from(cycles).unwrap());
}

/// Four threads with a compute side and an exchange each, on one device and one queue.
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
