//! The command-line options of the benchmark.

use std::path::PathBuf;
use std::time::Duration;

use bridge::Backend;
use clap::Parser;

use crate::cold::Cold;
use crate::report::provenance::root;

const EXAMPLES: &str = "\
Examples:
  bridge-bench                              everything, some seven minutes on a GPU
  bridge-bench --only handover/transfer     the cases whose names hold this
  bridge-bench --quick --backend host       a check of the benchmark itself, without CUDA
  bridge-bench --render-table results.json  the tables of an earlier run for readers, as Markdown
  bridge-bench --publish                    everything, into benches/results

A program that runs beside another tree than its own is told its commit by BRIDGE_BENCH_COMMIT; its results are published with
--publish-from on a clean tree of that commit.

Exit status: 0 when every case was measured or had a reason not to be, 1 when one failed or the frame path
allocated, 2 for options that cannot be.";

/// Compares the bridge with the same calls written by hand, in one run on one machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "bridge-bench", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// Run the cases whose names contain one of these, separated by commas
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Take few samples of small cases: checks that the benchmark works, not how fast the bridge is
    #[arg(long)]
    pub(crate) quick: bool,

    /// The compute backend: auto, cuda or host
    #[arg(long, value_name = "BACKEND", default_value = "auto")]
    pub(crate) backend: Backend,

    /// Vulkan device: an index, a UUID or a part of its name [default: the best]
    #[arg(long, value_name = "GPU")]
    pub(crate) gpu: Option<String>,

    /// Folder for results.json and the plots; created if missing [default: bench in cargo's target
    /// folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Also write to benches/results at the end, from which the tables for readers are made;
    /// requires a run of all cases, with CUDA, on a clean git tree
    #[arg(long, conflicts_with_all = ["quick", "only", "validate", "list", "render_table", "render_plots"])]
    pub(crate) publish: bool,

    /// Publish the results of an earlier run and exit, as --publish does
    #[arg(long, value_name = "results.json", conflicts_with_all = ["publish", "list", "render_table", "render_plots"])]
    pub(crate) publish_from: Option<PathBuf>,

    /// Start up as a program would, report it and exit: a part of the case start/cold
    #[arg(long, value_name = "WAY", hide = true)]
    pub(crate) cold_start: Option<Cold>,

    /// Write frames for the renderer that listens on this socket: a part of the cases processes/*
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub(crate) worker: Option<PathBuf>,

    /// Run kernels on this GPU without sharing their results: a part of the case processes/alone
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "UUID", hide = true)]
    pub(crate) alone: Option<bridge::vk_export::Uuid>,

    /// List the cases and exit
    #[arg(long)]
    pub(crate) list: bool,

    /// Print the tables of these results for readers as Markdown and exit; with --only, the rows
    /// that it names
    #[arg(long, value_name = "results.json")]
    pub(crate) render_table: Option<PathBuf>,

    /// Draw the plots of these results again, into the same folder, and exit
    #[arg(long, value_name = "results.json", conflicts_with = "render_table")]
    pub(crate) render_plots: Option<PathBuf>,

    /// Enable the validation layer, for work on the benchmark; the figures are then meaningless
    #[arg(long)]
    pub(crate) validate: bool,
}

impl Options {
    /// Returns `true` if a case or a row of this name is requested.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|pattern| name.contains(pattern.as_str()))
    }

    /// Returns the folder for the output of a run.
    pub(crate) fn out(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            target.or_else(|| Some(root().ok()?.join("target"))).unwrap_or_else(|| "target".into()).join("bench")
        })
    }

    /// Returns the profile that the options select.
    pub(crate) fn profile(&self) -> Profile {
        if self.quick { Profile::QUICK } else { Profile::FULL }
    }
}

/// The amount of measuring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Its name in the results.
    pub(crate) name: &'static str,
    /// Number of rounds, in each of which every way is measured once.
    pub(crate) rounds: usize,
    /// How long a way runs in one round.
    pub(crate) slice: Duration,
    /// The time after which a case starts no further rounds.
    pub(crate) enough: Duration,
    /// The time after which a case counts as hung, and the program ends.
    pub(crate) hung: Duration,
}

impl Profile {
    /// Enough samples for publishable figures.
    pub(crate) const FULL: Self = Self {
        name: "full",
        rounds: 15,
        slice: Duration::from_millis(25),
        enough: Duration::from_secs(30),
        hung: Duration::from_secs(120),
    };
    const QUICK: Self = Self {
        name: "quick",
        rounds: 3,
        slice: Duration::from_millis(4),
        enough: Duration::from_secs(3),
        hung: Duration::from_secs(120),
    };

    /// Returns `true` for the quick profile.
    pub(crate) fn is_quick(&self) -> bool {
        self.name == Self::QUICK.name
    }

    /// Returns `quick` for the quick profile, and `full` otherwise.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.is_quick() { quick } else { full }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn patterns_choose_cases() {
        let options = Options::try_parse_from(["bridge-bench", "--only", "handover/transfer,wait"]).unwrap();
        assert!(options.wants("handover/transfer/3") && options.wants("wait/cuda"));
        assert!(!options.wants("handover/graphics/3"));
        assert!(Options::try_parse_from(["bridge-bench"]).unwrap().wants("anything"));
    }

    #[test]
    fn a_run_writes_into_the_target_folder_by_default() {
        let out = |arguments: &[&str]| Options::try_parse_from(arguments).unwrap().out();
        assert!(out(&["bridge-bench"]).ends_with("bench") && !out(&["bridge-bench"]).ends_with("benches/results"));
        assert_eq!(out(&["bridge-bench", "--out", "elsewhere"]), PathBuf::from("elsewhere"));
    }

    #[test]
    fn parts_of_a_run_are_not_published() {
        for part in ["--quick", "--only=wait", "--validate"] {
            assert!(Options::try_parse_from(["bridge-bench", "--publish", part]).is_err(), "{part}");
        }
    }
}
