//! The cost of another process before anything is handed over: kernels whose results are not
//! shared, alongside a queue that Vulkan submits to, in this process and in another.
#![allow(unsafe_code)] // Empty submissions.

use std::time::Duration;

use anyhow::{Result, bail};
use bridge::ash::vk;
use bridge::vk_export::{Semaphore, SemaphoreInfo, SemaphoreKind};

use super::worker_process::WorkerProcess;
use super::{LONG, run_alongside};
use crate::cases::{Bench, Case, Rows};
use crate::gpu::Gpu;
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::report::Samples;
use crate::worker::Alone;

/// Interval of the submissions.
const TICK: Duration = Duration::from_millis(1);

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let what = "kernels of another process that hand nothing over, beside an empty submission each millisecond";
    vec![Case::new("processes/alone", what, move |bench, rows| run(bench, rows, what))]
}

fn run(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let device = gpu.cuda()?.device();
    let frames = bench.profile.pick(1000, 100);
    rows.parameter("kernels", LONG);
    rows.parameter("bytes", Alone::BYTES);
    rows.parameter("frames", frames);
    let mut other = WorkerProcess::start_alone(gpu)?;
    let own = Alone::new(device)?;
    let mut ticks = Ticks::new(gpu)?;
    let samples = alternate(&bench.profile, bench.profile.rounds, 4, |way| {
        let mut step = || {
            if way < 2 {
                ticks.submit()?;
            }
            std::thread::sleep(TICK);
            Ok(())
        };
        let took = match way {
            0 | 2 => run_alongside(&mut step, || other.ask(frames, LONG).and_then(|()| other.took()))?,
            _ => run_alongside(&mut step, || own.run(frames, LONG))?,
        };
        Ok(took.as_secs_f64() * 1e6 / frames as f64)
    })?;
    other.end()?;
    let [theirs, ours, theirs_alone, ours_alone] = &samples[..] else { bail!("four ways were measured") };
    let others = [
        Samples::comparison("in this process", ours),
        Samples::comparison("in another, without submissions", theirs_alone),
        Samples::comparison("in this process, without submissions", ours_alone),
    ];
    rows.lower("", what, "µs", theirs, &others, None)
}

/// Submissions without commands, each of which signals a timeline.
struct Ticks<'a> {
    gpu: &'a Gpu,
    timeline: Semaphore,
    value: u64,
}

impl<'a> Ticks<'a> {
    fn new(gpu: &'a Gpu) -> Result<Self> {
        let info = SemaphoreInfo { name: "ticks", kind: SemaphoreKind::Timeline, exportable: false };
        Ok(Self { gpu, timeline: Semaphore::new(&gpu.device, &info)?, value: 0 })
    }

    fn submit(&mut self) -> Result<()> {
        self.value += 1;
        let signals = [vk::SemaphoreSubmitInfo::default()
            .semaphore(self.timeline.as_raw())
            .value(self.value)
            .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS)];
        let batch = vk::SubmitInfo2::default().signal_semaphore_infos(&signals);
        // SAFETY: the timeline belongs to this device and lives until its last value is reached
        // (`drop`); the values increase by one.
        unsafe { self.gpu.device.queue().submit(&[batch], vk::Fence::null()) }?;
        Ok(())
    }
}

impl Drop for Ticks<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.timeline.wait(self.value, Duration::from_secs(10)) {
            eprintln!("warning: {error}");
        }
    }
}
