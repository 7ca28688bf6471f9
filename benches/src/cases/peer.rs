//! Compute on another GPU: frames of a ring, compared with the same on the GPU that draws, and
//! kernels that write the drawing GPU's buffers, compared with the same on CUDA's own memory there.
#![allow(unsafe_code)] // Driver calls.

use anyhow::{Context, Result, bail};
use bridge::cuda_import::cudarc::driver::sys;
use bridge::cuda_import::{CudaDevice, PeerAccess, peer_access, report};
use bridge::{BufferAccess, Compute, CudaCompute, SharedBuffer};

use super::bandwidth::address;
use super::inline::ring;
use super::{Bench, Case, Rows, bytes};
use crate::harness::Skip;
use crate::harness::frames::{MAX_BATCH, compare};
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::cuda::{DeviceMemory, Event, Module, Stream, bound, check};
use crate::raw::patterns::Scramble;
use crate::report::{Better, Bounded, Goal, Samples};

const OWN: &str = "on the GPU that draws";

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let slots: &[usize] = profile.pick(&[1, 2, 3], &[1]);
    let sizes: &[u64] = profile.pick(&[64 << 20, 1 << 30, 3 << 30], &[64 << 20]);
    let frames = slots.iter().map(|&slots| {
        let plural = if slots == 1 { "" } else { "s" };
        let what = format!("frame, CUDA on another GPU than Vulkan, {slots} slot{plural}");
        Case::new(format!("peer/{slots}"), what.clone(), move |bench, rows| frames(bench, rows, slots, &what))
    });
    let writes = sizes.iter().map(|&size| {
        let what = format!("kernel of another GPU writes {} of shared memory", bytes(size));
        let name = format!("peer/write/{}", bytes(size).replace(' ', ""));
        Case::new(name, what.clone(), move |bench, rows| writes(bench, rows, size, &what))
    });
    frames.chain(writes).collect()
}

/// Measures frames with a small kernel each, with as many frames in flight as there are slots.
fn frames(bench: &Bench, rows: &mut Rows, slots: usize, what: &str) -> Result<()> {
    rows.parameter("slots", slots);
    let (peer, own) = (peer(bench)?, bench.gpu.compute.clone());
    let mut theirs = ring(&peer, slots, 1)?;
    let mut ours = ring(&own, slots, 1)?;
    let costs = compare(&bench.profile, MAX_BATCH, &mut [&mut theirs, &mut ours])?;
    let [theirs, ours] = &costs[..] else { bail!("two loops were measured") };
    let quick = Goal { of: Bounded::Value, bound: 25.0, better: Better::Lower, strict: false };
    let quick = (slots == 1).then_some(quick);
    rows.lower("wall", what, "µs", &theirs.wall, &[Samples::comparison(OWN, &ours.wall)], quick)?;
    if !theirs.cpu.is_empty() {
        let what = format!("{what}: processor time");
        rows.lower("cpu", what, "µs", &theirs.cpu, &[Samples::comparison(OWN, &ours.cpu)], None)?;
    }
    Ok(())
}

/// Measures a kernel that writes random words over NVLink or PCIe.
fn writes(bench: &Bench, rows: &mut Rows, size: u64, what: &str) -> Result<()> {
    rows.parameter("bytes", size);
    let drawing = bench.gpu.cuda()?;
    let side = peer(bench)?;
    let peer = side.cuda().context("CUDA computes on the peer")?;
    check_room(drawing, size)?;
    let own = DeviceMemory::new(drawing, size)?;
    let shared: SharedBuffer<u32> =
        SharedBuffer::new(&side, "written", usize::try_from(size / 4)?, BufferAccess::TRANSFER_READ)?;
    let pointers = [address(&shared)?, own.as_raw()];
    let reached = drawing.device().context().cu_ctx();
    let context = bound(peer)?;
    // SAFETY: a context is bound, and the other one is live; the flags must be 0.
    match unsafe { sys::cuCtxEnablePeerAccess(reached, 0) } {
        sys::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => {}
        code => check("cuCtxEnablePeerAccess", code)?,
    }
    let module = Module::load(peer, Module::BENCH)?;
    let scramble = Scramble::new(peer, &module)?;
    let stream = Stream::new(peer)?;
    let (from, to) = (Event::timing(&context)?, Event::timing(&context)?);
    let time = |pointer, repeats: u32| -> Result<f64> {
        from.record(stream.as_raw())?;
        for seed in 0..repeats {
            // SAFETY: the buffer has `size` bytes and lives until the stream is done.
            unsafe { scramble.launch(stream.as_raw(), pointer, size, u64::from(seed)) }?;
        }
        to.record(stream.as_raw())?;
        to.spin()?;
        to.since(&from)
    };
    time(pointers[1], 3)?;
    let one = time(pointers[1], 3)? / 3.0;
    let repeats = (bench.profile.slice.as_secs_f64() * 1e6 / one.max(0.1)).clamp(2.0, 500.0) as u32;
    let mut speeds = alternate(&bench.profile, bench.profile.rounds, 2, |way| {
        let pointer = *pointers.get(way).context("no such way")?;
        Ok(size as f64 / (time(pointer, repeats)? / f64::from(repeats)) * 1e-3)
    })?
    .into_iter();
    stream.finish()?;
    let (ours, raw) = speeds.next().zip(speeds.next()).context("two ways were measured")?;
    drop((from, to, stream, module));
    // Memory on the GPU that draws is freed in that GPU's context.
    bound(drawing)?;
    drop(own);
    let goal = Goal { of: Bounded::Ratio, bound: 0.95, better: Better::Higher, strict: false };
    rows.higher("", what, "GB/s", &ours, &[Samples::rival("cuMemAlloc on the GPU that draws", &raw)], Some(goal))
}

/// Skips the case unless two buffers of `size` bytes fit into the free memory of the drawing GPU.
fn check_room(drawing: &CudaCompute, size: u64) -> Result<()> {
    bound(drawing)?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: a context is bound.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
    let wanted = 2 * size + (256 << 20);
    if wanted > free as u64 {
        let (wanted, free) = (bytes(wanted), bytes(free as u64));
        return Skip::because(format!("two buffers of {} want {wanted} of GPU memory, {free} are free", bytes(size)));
    }
    Ok(())
}

/// Returns CUDA on the first other GPU that can access the memory of the one that draws.
fn peer(bench: &Bench) -> Result<Compute> {
    let drawing = &bench.gpu.device;
    bench.gpu.cuda()?;
    for other in report()?.devices.iter().filter(|other| other.uuid != drawing.uuid()) {
        if peer_access(other.uuid, drawing.uuid())? == PeerAccess::Direct {
            return Ok(Compute::on_peer(drawing, &CudaDevice::by_uuid(other.uuid)?)?);
        }
    }
    Skip::because(format!("no second GPU reaches the memory of {}", drawing.name()))
}
