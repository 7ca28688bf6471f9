//! The time from the end of a worker to the next worker's first whole frame. The next worker has
//! already started CUDA.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use bridge::{BufferAccess, BufferSpec, Error, LatestInfo, RemoteLatestReader};

use super::Spec;
use super::worker_process::{Endpoint, WorkerProcess};
use crate::cases::{Bench, Case, Rows};
use crate::harness::{LIMIT, spin_until};
use crate::options::Profile;
use crate::report::{Better, Bounded, Goal};

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let what = "from SIGKILL to the next worker's first whole frame, besides its start";
    vec![Case::new("processes/comeback", what, move |bench, rows| run(bench, rows, what))]
}

fn run(bench: &Bench, rows: &mut Rows, what: &str) -> Result<()> {
    let gpu = &bench.gpu;
    let len = 64 << 10;
    rows.parameter("bytes", 4 * len);
    let info = LatestInfo { name: "processes", timeout: LIMIT, ..Default::default() };
    let place = Endpoint::new()?;
    let (mut worker, remote) = WorkerProcess::start(gpu, &place, false)?;
    let mut reader = remote.latest(&info, BufferSpec::new(len, BufferAccess::TRANSFER_READ))?;
    let (mut samples, mut last) = (Vec::new(), None);
    for _ in 0..bench.profile.pick(20, 3) {
        // Only one frame, so that no later frame of this worker is mistaken for one of the next.
        worker.ask(1, 1)?;
        worker.took()?;
        spin_until("a frame of the worker", || newest(&mut reader, &mut last))?;
        let (mut next, remote) = WorkerProcess::start(gpu, &place, false)?;
        next.ask(1, 1)?;
        let killed = Instant::now();
        worker.kill()?;
        spin_until("the end of the worker", || match reader.check_worker() {
            Ok(()) => Ok(false),
            Err(Error::PeerLost { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        })?;
        reader.reconnect(remote)?;
        spin_until("a frame of the next worker", || newest(&mut reader, &mut last))?;
        samples.push(killed.elapsed().as_secs_f64() * 1e3);
        ensure!(reader.check_worker().is_ok(), "the next worker is lost");
        next.took()?;
        worker = next;
    }
    reader.close()?;
    worker.end()?;
    if samples.is_empty() {
        bail!("no worker was killed");
    }
    let goal = Goal { of: Bounded::Value, bound: 1000.0, better: Better::Lower, strict: false };
    rows.lower("", what, "ms", &samples, &[], Some(goal))
}

/// Reads the newest frame; returns `true` if it is not the last one that was read.
fn newest(reader: &mut RemoteLatestReader<Spec>, last: &mut Option<u64>) -> Result<bool> {
    let Some(turn) = reader.newest()? else { return Ok(false) };
    let frame = turn.frame();
    turn.read_back(LIMIT)?;
    Ok(last.replace(frame) != Some(frame))
}
