//! Loading kernels from PTX: without any cache, and a second time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use bridge::Compute;

use super::inline::sides;
use super::{Bench, Case, Rows};
use crate::harness::rounds::alternate;
use crate::options::Profile;
use crate::raw::cuda::Module;
use crate::report::Samples;

pub(super) fn cases(_: &Profile) -> Vec<Case> {
    let cold = "kernels for the Vulkan queue loaded from PTX that no cache knows";
    let again = "kernels for the Vulkan queue loaded from PTX that this process has loaded before";
    vec![
        Case::new("inline/load/cold", cold, move |bench, rows| run(bench, rows, cold, true)),
        Case::new("inline/load/again", again, move |bench, rows| run(bench, rows, again, false)),
    ]
}

fn run(bench: &Bench, rows: &mut Rows, what: &str, fresh: bool) -> Result<()> {
    let (inline, cuda) = sides(bench)?;
    // What no other run has loaded either.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut next = u64::from(std::process::id()) << 32 | u64::from(now.subsec_nanos());
    let mut sample = |compute: &Compute| {
        next = next.wrapping_add(1);
        load(compute, if fresh { next } else { 0 })
    };
    let samples =
        alternate(&bench.profile, bench.profile.rounds, 2, |way| sample(if way == 0 { &inline } else { &cuda }))?;
    let [inline, cuda] = &samples[..] else { bail!("two ways were measured") };
    rows.lower("", what, "ms", inline, &[Samples::rival("for a CUDA stream", cuda)], None)
}

/// Returns the milliseconds of loading a PTX text with a variable named after `number`, so that a
/// new number makes a new text.
fn load(compute: &Compute, number: u64) -> Result<f64> {
    let text =
        format!("{}\n.visible .global .u64 bench_{number:x} = {number};\n", Module::BENCH.trim_end_matches('\0'));
    let begun = Instant::now();
    let kernel = compute.load("bench", &text)?.kernel("saxpy")?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    drop(kernel);
    Ok(took)
}
