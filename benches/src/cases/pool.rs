//! Creating and dropping shared buffers: from a pool, with dedicated memory, and by hand.

use anyhow::{Result, bail, ensure};
use bridge::{SharedBuffer, SharedPool, SharedPoolInfo};

use super::setup::{ACCESSES, Times, timed};
use super::{Bench, Case, Rows, bytes};
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::shared::{self, Exports};
use crate::report::{Goal, RAW, Samples};

pub(super) fn cases(profile: &Profile) -> Vec<Case> {
    let sizes: &[u64] = profile.pick(&[64 << 10, 1 << 20], &[64 << 10]);
    let of = |size: u64| {
        let what = format!("shared buffer of {} from a pool", bytes(size));
        let name = format!("pool/{}", bytes(size).replace(' ', ""));
        Case::new(name, what.clone(), move |bench, rows| run(bench, rows, size, &what))
    };
    sizes.iter().copied().map(of).collect()
}

fn run(bench: &Bench, rows: &mut Rows, size: u64, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let count = bench.profile.pick(32, 4);
    rows.parameter("bytes", size);
    rows.parameter("buffers", count);
    let exports = Exports::new(&gpu.device);
    let len = usize::try_from(size)?;
    // All buffers fit into the first block, so that no sample creates a block.
    let block_size = 2 * count as u64 * size;
    let pool = SharedPool::new(&gpu.compute, &SharedPoolInfo { name: "pool", block_size, ..Default::default() })?;
    let times = alternate(&bench.profile, bench.profile.rounds, 3, |way| match way {
        0 => timed(count, || Ok(SharedBuffer::<u8>::new_in(&pool, "pooled", len, ACCESSES)?)),
        1 => timed(count, || Ok(SharedBuffer::<u8>::new(&gpu.compute, "own", len, ACCESSES)?)),
        _ => timed(count, || shared::SharedBuffer::new(gpu, &exports, size, ACCESSES)),
    })?;
    ensure!(pool.report().blocks == 1, "the pool has grown");
    let [pooled, own, raw] = &times[..] else { bail!("three ways were measured") };
    let by_hand = if gpu.is_cuda() { RAW } else { "raw calls, Vulkan alone" };
    let made: fn(&Times) -> f64 = |times| times.made;
    // Without CUDA, there are no imports that a pool could save.
    let goal = gpu.is_cuda().then(|| Goal::times(1.0 / 50.0));
    for (part, of, goal) in [("make", made, goal), ("drop", |times| times.dropped, None)] {
        let [pooled, own, raw] = [pooled, own, raw].map(|times| times.iter().map(of).collect::<Vec<_>>());
        let others = [Samples::rival("memory of its own", &own), Samples::rival(by_hand, &raw)];
        rows.lower(part, format!("{what}: {part}"), "µs", &pooled, &others, goal)?;
    }
    Ok(())
}
