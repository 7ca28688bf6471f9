//! `cargo xtask ci`: all checks that a change has to pass, as a sequence of steps, quick ones
//! first.

mod auto_traits;
mod examples;
mod lanes;
mod lengths;
mod loggers;
mod misuse;
mod steps;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::console;
use crate::setup::consent::Consent;
use crate::setup::{self, Scope};
use crate::{adapters, api, bench, fuzz, kernels, publish, python, test, windows};
use steps::cargo;

pub(crate) use lanes::end_with_parent;
pub(crate) use misuse::run as misuse;
pub(crate) use steps::{kill_matrix, kill_soak};

/// One step of continuous integration.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
    /// `true` if the step needs no output of other steps, so it may run in parallel.
    parallel: bool,
}

const fn step(name: &'static str, run: fn() -> Result<()>) -> Step {
    Step { name, run, parallel: false }
}

const fn parallel(name: &'static str, run: fn() -> Result<()>) -> Step {
    Step { name, run, parallel: true }
}

/// Checks come first: `clippy` leaves the metadata that `features`, `docs`, `package` and `misuse`
/// build on. The parallel steps start after `tables`.
const STEPS: &[Step] = &[
    step("toolchain", steps::toolchain),
    step("setup", || setup::run(Scope::Tests, Consent::from_environment())),
    step("format", format),
    step("cycles", publish::cycles),
    step("kernels", || kernels::run(true)),
    step("tables", || publish::tables(true)),
    step("clippy", || cargo("clippy --workspace --all-targets -- -D warnings")),
    step("features", steps::features),
    step("docs", steps::docs),
    step("api", || api::run(false)),
    step("package", publish::package),
    step("misuse", || misuse(false)),
    step("test", steps::tests),
    step("double", test::on_the_double),
    step("kill-matrix", || kill_matrix(3, false, false)),
    step("fuzz", fuzz::in_ci),
    step("demo", steps::demo),
    step("bench", bench::check),
    step("licenses", publish::licenses),
    parallel(INSTALLS, steps::tools),
    parallel("bevy", adapters::bevy),
    parallel("windows", || windows::run(Consent::from_environment(), false)),
    parallel("wgpu", adapters::wgpu),
    parallel("vulkano", adapters::vulkano),
    parallel("python", python::ci),
];

fn format() -> Result<()> {
    cargo("fmt --all -- --check")?;
    lengths::check()?;
    loggers::check()?;
    auto_traits::check()
}

/// The last step that completes before any steps run in parallel.
const LAST_SERIAL: &str = "tables";

/// The step that installs what the parallel steps need.
const INSTALLS: &str = "tools";

/// The packages in `crates/`.
const CRATES: &str = "-p vk-export -p vk-local -p cuda-import -p vk-cuda-bridge-ipc -p vk-cuda-bridge-trace \
                      -p vk-cuda-bridge-worker -p vk-cuda-bridge -p vk-cuda-bridge-view";

/// The steps of [`check`], for the crates only. Both test steps mostly wait, so they run in
/// parallel.
const QUICK: &[Step] = &[
    step("format", format),
    step("clippy", || cargo(&format!("clippy {CRATES} --lib --tests -- -D warnings"))),
    step("unit", || cargo(&format!("test --quiet {CRATES} --lib"))),
    parallel("driver-double", || cargo("test --quiet -p driver-double")),
];

/// Prints the names of the steps.
pub(crate) fn list() -> Result<()> {
    STEPS.iter().try_for_each(|step| console::line(step.name))
}

/// Runs the named steps one after another. If none is named, runs all steps except those in
/// `without`, some in parallel. Stops at the first failure and names the step.
pub(crate) fn run(names: &[String], without: &[String], serial: bool) -> Result<()> {
    let steps = choose(names, without)?;
    let mut times = Times::new();
    let result =
        if names.is_empty() && !serial { lanes::run(&steps, &mut times) } else { run_in_order(&steps, &mut times) };
    result.and(times.print())?;
    console::line(format_args!("all {} steps passed", steps.len()))?;
    Ok(())
}

fn choose(names: &[String], without: &[String]) -> Result<Vec<Step>> {
    if !names.is_empty() {
        return names.iter().map(|name| find(name)).collect();
    }
    let left_out = without.iter().map(|name| Ok(find(name)?.name)).collect::<Result<Vec<_>>>()?;
    Ok(STEPS.iter().filter(|step| !left_out.contains(&step.name)).copied().collect())
}

/// Runs the checks that are worth running after every change: they need no device and take less
/// than a minute incrementally.
pub(crate) fn check() -> Result<()> {
    let mut times = Times::new();
    let result = lanes::run(QUICK, &mut times);
    result.and(times.print())
}

fn find(name: &str) -> Result<Step> {
    STEPS.iter().chain(QUICK).find(|step| step.name == name).copied().with_context(|| {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        format!("there is no step `{name}`; the steps are {}", names.join(", "))
    })
}

fn run_in_order(steps: &[Step], times: &mut Times) -> Result<()> {
    steps.iter().try_for_each(|step| run_in_this_process(step, times))
}

/// Runs one step in this process, with its output.
fn run_in_this_process(step: &Step, times: &mut Times) -> Result<()> {
    console::line(format_args!("== {}", step.name))?;
    let start = Instant::now();
    let result = (step.run)();
    times.add(step.name, start.elapsed(), false);
    result.with_context(|| failure_message(step.name, None))
}

/// Returns the message for a failed step; `log` is the file with its output.
fn failure_message(name: &str, log: Option<&Path>) -> String {
    match log {
        None => format!("step `{name}` failed"),
        Some(log) => format!("step `{name}` failed; its output is above, and in {}", log.display()),
    }
}

/// The duration of each step.
struct Times {
    start: Instant,
    steps: Vec<(&'static str, Duration, bool)>,
}

impl Times {
    fn new() -> Self {
        Self { start: Instant::now(), steps: Vec::new() }
    }

    fn add(&mut self, name: &'static str, time: Duration, parallel: bool) {
        self.steps.push((name, time, parallel));
    }

    fn print(&self) -> Result<()> {
        console::line("== times")?;
        for (name, time, parallel) in &self.steps {
            console::line(format_args!(
                "{name:13} {:7.1} s{}",
                time.as_secs_f64(),
                if *parallel { "  in parallel" } else { "" }
            ))?;
        }
        console::line(format_args!("{:13} {:7.1} s", "total", self.start.elapsed().as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_name_and_an_unknown_name_lists_all() {
        assert_eq!(find("docs").unwrap().name, "docs");
        let error = find("doc").err().unwrap().to_string();
        assert!(error.contains("`doc`") && error.contains("format, cycles, kernels, tables, clippy"), "{error}");
    }

    #[test]
    fn a_step_that_is_left_out_is_not_chosen_and_must_exist() {
        let without = ["windows", "bevy"].map(str::to_owned);
        let steps = choose(&[], &without).unwrap();
        assert_eq!(steps.len(), STEPS.len() - 2);
        assert!(!steps.iter().any(|step| without.contains(&step.name.to_owned())));
        assert!(choose(&[], &["window".to_owned()]).is_err());
    }

    #[test]
    fn a_failed_step_is_reported_and_ends_the_run() {
        let steps = [step("one", || Ok(())), step("two", || anyhow::bail!("why")), step("three", || Ok(()))];
        let mut times = Times::new();
        let error = run_in_order(&steps, &mut times).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `two` failed: why");
        assert_eq!(times.steps.iter().map(|step| step.0).collect::<Vec<_>>(), ["one", "two"]);
    }
}
