//! Frame loops: the duration, processor time and allocations of a frame.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::clock::thread_cpu_us;
use super::rounds::alternate;
use crate::options::Profile;

/// A loop that makes frames, with several in flight.
pub(crate) trait FrameLoop {
    /// Makes a frame, with only the waits that a program would have.
    fn frame(&mut self) -> Result<()>;

    /// Waits until all frames are done.
    fn drain(&mut self) -> Result<()>;
}

/// Number of frames in a batch whose processor time is measured: few enough that no driver queue
/// becomes full, which would make the driver spin.
const SHORT: usize = 32;
/// Number of batches whose processor time is measured per round: they take little time, and single
/// ones differ by more than what the bridge adds.
const SHORT_PER_ROUND: usize = 8;
/// The maximum number of frames in a batch whose duration is measured.
pub(crate) const MAX_BATCH: usize = 4096;
/// The same for loops that need separate resources for every frame of a batch.
pub(crate) const MAX_SMALL_BATCH: usize = 256;

/// The costs of frames made in one way, one sample per batch.
#[derive(Debug, Default)]
pub(crate) struct FrameCosts {
    /// Microseconds per frame.
    pub(crate) wall: Vec<f64>,
    /// Microseconds of the calling thread's processor time per frame, if the system reports it.
    pub(crate) cpu: Vec<f64>,
    /// Heap allocations of the calling thread per frame.
    pub(crate) allocations: Vec<f64>,
}

/// Measures frame loops against each other, with at most `most` frames in a batch.
pub(crate) fn compare(profile: &Profile, most: usize, loops: &mut [&mut dyn FrameLoop]) -> Result<Vec<FrameCosts>> {
    let frames = batch_size(profile.slice, most, loops)?;
    let walls = walls(profile, profile.rounds, &frames, loops)?;
    let cpus = alternate(profile, profile.rounds * SHORT_PER_ROUND, loops.len(), |way| cpu_of(&mut *loops[way]))?;
    let allocations = alternate(profile, profile.rounds, loops.len(), |way| allocations_of(&mut *loops[way]))?;
    let costs = walls.into_iter().zip(cpus).zip(allocations).map(|((wall, cpu), allocations)| FrameCosts {
        wall,
        cpu: cpu.into_iter().flatten().collect(),
        allocations,
    });
    Ok(costs.collect())
}

/// Measures the microseconds per frame of each loop, with batches of `frames`.
pub(crate) fn walls(
    profile: &Profile,
    rounds: usize,
    frames: &[usize],
    loops: &mut [&mut dyn FrameLoop],
) -> Result<Vec<Vec<f64>>> {
    alternate(profile, rounds, loops.len(), |way| {
        let count = frames[way];
        let start = Instant::now();
        run(&mut *loops[way], count)?;
        Ok(start.elapsed().as_secs_f64() * 1e6 / count as f64)
    })
}

/// Returns how many frames of each loop take about as long as `slice`; the same number for all
/// loops if they differ by less than a factor of two.
pub(crate) fn batch_size(slice: Duration, most: usize, loops: &mut [&mut dyn FrameLoop]) -> Result<Vec<usize>> {
    const TRIAL: usize = 4;
    let mut frames = Vec::new();
    for one in loops {
        run(&mut **one, TRIAL)?;
        let start = Instant::now();
        run(&mut **one, TRIAL)?;
        let frame = start.elapsed() / TRIAL as u32;
        frames.push((slice.as_secs_f64() / frame.as_secs_f64().max(1e-7)) as usize);
    }
    let alike = frames.iter().max().zip(frames.iter().min()).is_some_and(|(most, least)| *most < 2 * *least);
    let first = frames.first().copied().unwrap_or_default();
    Ok(frames.into_iter().map(|own| if alike { first } else { own }.clamp(TRIAL, most)).collect())
}

fn run(frame_loop: &mut dyn FrameLoop, frames: usize) -> Result<()> {
    for _ in 0..frames {
        frame_loop.frame()?;
    }
    frame_loop.drain()
}

fn cpu_of(frame_loop: &mut dyn FrameLoop) -> Result<Option<f64>> {
    let before = thread_cpu_us();
    for _ in 0..SHORT {
        frame_loop.frame()?;
    }
    let after = thread_cpu_us();
    frame_loop.drain()?;
    Ok(before.zip(after).map(|(before, after)| (after - before) / SHORT as f64))
}

fn allocations_of(frame_loop: &mut dyn FrameLoop) -> Result<f64> {
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| {
        result = (0..SHORT).try_for_each(|_| frame_loop.frame());
    });
    result?;
    frame_loop.drain()?;
    Ok(counted.count_total as f64 / SHORT as f64)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::Options;

    struct Toy {
        kept: Vec<String>,
        allocates: bool,
        open: usize,
    }

    impl FrameLoop for Toy {
        fn frame(&mut self) -> Result<()> {
            self.open += 1;
            if self.allocates {
                self.kept.push("x".repeat(40));
            }
            std::thread::sleep(Duration::from_micros(20));
            Ok(())
        }

        fn drain(&mut self) -> Result<()> {
            self.open = 0;
            self.kept.clear();
            Ok(())
        }
    }

    #[test]
    fn a_loop_that_allocates_is_caught() {
        let toy = |allocates| Toy { kept: Vec::with_capacity(2 * MAX_BATCH), allocates, open: 0 };
        let (mut frugal, mut wasteful) = (toy(false), toy(true));
        let profile = Options::try_parse_from(["bridge-bench", "--quick"]).unwrap().profile();
        let costs = compare(&profile, MAX_BATCH, &mut [&mut frugal, &mut wasteful]).unwrap();
        assert_eq!(costs[0].allocations, [0.0; 3]);
        assert_eq!(costs[1].allocations, [1.0; 3]);
        assert_eq!(costs[0].wall.len(), profile.rounds);
        assert!(costs[0].wall.iter().all(|frame| *frame > 20.0), "{costs:?}");
        assert_eq!(frugal.open, 0, "every batch is drained");
    }
}
