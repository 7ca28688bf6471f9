//! Tests that need a device and CUDA, with the driver double as both (docs/testing.md, "CUDA
//! without a GPU"): those of the workspace (`cargo xtask ci --step double`) and those of adapters.

mod built;
mod place;

use std::fs;
use std::process::Command;

use anyhow::{Result, bail, ensure};

pub(super) use self::built::Built;
pub(crate) use self::built::{Package, Program, part, unit_tests, whole};
pub(super) use self::place::{Place, Ran};
use super::each::each;
use super::expected::{self, Difference};
use super::read_log;
use super::tally::Tally;
use crate::{setup, shell};

/// The test programs that involve CUDA and that the double can run, longest first. Skipped are
/// tests of kernels that the double does not implement, tests without CUDA, tests that take seconds
/// because of their number of frames, and in every program the tests of the CPU backend ([`HOST`]).
pub(super) const PROGRAMS: &[Program] = &[
    part("peers", &["hidden::"]),
    part("latest", &["a_thousand_exchanges_leave_nothing"]),
    part("images", &["every_mip_chain", "textures_match_a_reference"]),
    part("view", &["handles::", "refused::", "other_views::", "own_images::", "window::"]),
    whole("exchange"),
    whole("turns"),
    part("graphs", &["values_rise_over_a_thousand_frames"]),
    whole("faults"),
    whole("grow"),
    whole("pool"),
    whole("observe"),
    whole("latest_joined"),
    whole("hostile"),
    whole("render_first"),
    whole("pacing"),
    whole("flush"),
    whole("lost_device"),
    whole("grow_faults"),
    whole("adopt"),
    whole("embedding"),
    whole("embedding").on_queues("2"),
    whole("queues").on_queues("2,1,1"),
    whole("run_once"),
    part("doc_examples", &["kernel"]),
    whole("leases"),
    whole("schedules"),
    whole("allocations"),
    whole("export"),
    whole("dedicated_only"),
    whole("pairs"),
    whole("barriers"),
    whole("latest_engine"),
];

/// The module of CPU backend tests, which `cargo xtask test` has already run in full.
const HOST: &str = "on_host";

/// Environment variable with the Vulkan driver that the double builds on.
const DRIVER_VARIABLE: &str = "DRIVER_DOUBLE_VULKAN";
const LAVAPIPE: &str = "libvulkan_lvp.so";

/// Runs the programs of the workspace. Fails if nothing can be run.
pub(crate) fn run() -> Result<()> {
    if let Some(reason) = unavailable_reason() {
        bail!("nothing is tested: {reason}");
    }
    // With the features of the whole workspace, as `cargo test --workspace` has built it.
    let built = Built::new(PROGRAMS, workspace_tests(shell::cargo()), Package::of_workspace(&shell::root()))?;
    let place = Place::new(&shell::target_dir().join("doubled"), &built.double)?;
    run_all(PROGRAMS, &built, &[HOST], &place)
}

/// Runs programs of an adapter, which the `cargo test` command `test` has built before, and then
/// commands of examples, each with the queues that the double reports. The double is one of their
/// dependencies. If nothing can be run, fails on Linux, and prints the reason elsewhere.
pub(crate) fn run_adapter(
    programs: &[Program],
    examples: Vec<(Command, Option<&str>)>,
    test: Command,
    package: Package,
) -> Result<()> {
    if let Some(reason) = unavailable_reason() {
        return crate::test::nothing_ran(
            &format!("nothing is tested on the driver double: {reason}"),
            cfg!(target_os = "linux"),
        );
    }
    // A different folder than the workspace's, whose tests may run at the same time.
    let folder = shell::target_dir().join("ci").join(package.name).join("doubled");
    let built = Built::new(programs, test, package)?;
    let place = Place::new(&folder, &built.double)?;
    run_all(programs, &built, &[], &place)?;
    examples.into_iter().try_for_each(|(mut example, queues)| place.run_example(&mut example, queues))
}

/// Returns a `cargo test` command for the workspace.
pub(super) fn workspace_tests(mut cargo: Command) -> Command {
    cargo.args(["test", "--workspace"]);
    cargo
}

/// Runs the programs, several at a time, without the tests whose names contain one of `without`.
/// Fails if a test fails, if the double reports a finding, or if a skip is not in the package's
/// list.
fn run_all(programs: &[Program], built: &Built, without: &[&str], place: &Place) -> Result<()> {
    fs::write(place.skips(), "")?;
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    each(
        programs,
        |program| place.run(program, built, without, None),
        |program, ran| {
            let Ran { output, time, findings } = ran?;
            crate::console::line(format_args!("== {} {:.1} s", program.title(), time.as_secs_f64()))?;
            let said = String::from_utf8_lossy(&output.stdout);
            crate::console::print(&said)?;
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            said.lines().for_each(|line| tally.take_line(line));
            let reasons = [
                (!output.status.success()).then(|| format!("failed: {}", output.status)),
                has_run_no_test(&said).then(|| "has run no test".to_owned()),
                (!findings.is_empty()).then(|| format!("broke rules of the driver's:\n{}", findings.join("\n"))),
            ];
            wrong.extend(reasons.into_iter().flatten().map(|reason| format!("{} {reason}", program.title())));
            Ok(())
        },
    )?;
    tally.take_log(&read_log(&place.skips())?);
    crate::console::line(format_args!("\n{tally}"))?;
    let list = expected::path_of_double(&built.package.folder);
    let difference = Difference::of(&expected::read(&list)?, tally.skips(), true);
    eprint!("{}", difference.report(&list));
    ensure!(wrong.is_empty(), "on the driver double, {}", wrong.join("\n"));
    ensure!(!difference.is_failure(), "skips on the driver double that are not in {}", list.display());
    Ok(())
}

/// Returns why nothing can be run on this machine, if so.
pub(super) fn unavailable_reason() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("the driver double is a Vulkan driver on Linux only".to_owned());
    }
    let below = std::env::var(DRIVER_VARIABLE).unwrap_or_else(|_| LAVAPIPE.to_owned());
    (!setup::opens(&below)).then(|| {
        format!("there is no {below}, a software Vulkan driver (Debian, Ubuntu: `apt install mesa-vulkan-drivers`)")
    })
}

/// Returns `true` if all requested tests were filtered out or no longer exist.
fn has_run_no_test(said: &str) -> bool {
    !said.lines().any(|line| line.starts_with("running ") && !line.starts_with("running 0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_one_of_the_package() {
        let manifest = fs::read_to_string(Package::of_workspace(&shell::root()).folder.join("Cargo.toml")).unwrap();
        for program in PROGRAMS {
            let line = format!("name = \"{}\"\n", program.name);
            assert_eq!(manifest.matches(&line).count(), 1, "{}", program.name);
        }
    }

    #[test]
    fn a_program_without_a_test_is_detected() {
        assert!(has_run_no_test("\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed"));
        assert!(has_run_no_test(""));
        assert!(!has_run_no_test("\nrunning 1 test\n"));
    }
}
