//! The project's commands, run as `cargo xtask COMMAND`.
//!
//! This package depends on no crate of the workspace, so that it builds quickly and runs on a
//! machine where nothing is installed yet. Its tests depend on `test-support`, which has no
//! dependencies.

#![deny(clippy::print_stdout, reason = "`println!` panics if the reader has closed the pipe: see `console`")]

mod adapters;
mod api;
mod bench;
mod ci;
#[allow(dead_code, unreachable_pub, reason = "the demos, whose file this is, need more of it")]
#[path = "../../examples/src/console.rs"]
mod console;
mod digest;
mod documented;
mod fuzz;
mod kernels;
mod licenses;
mod lint;
mod nvrtc;
mod programs;
mod publish;
mod python;
mod screen;
mod setup;
mod shell;
mod test;
mod wheel;
mod windows;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use setup::Scope;
use setup::consent::Consent;

/// The project's commands
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

const AFTER_HELP: &str = "Setup shows what it will install with the system's package manager, as root or through sudo. \
                          It asks first on a terminal; without a terminal, in CI or with --yes it continues without \
                          asking. BRIDGE_NO_INSTALL=1 forbids installing; setup then prints the command to run.";

/// Options of commands that may install packages.
#[derive(Args)]
struct Installing {
    /// Report what is missing instead of installing it
    #[arg(long, visible_alias = "offline", conflicts_with = "yes")]
    no_install: bool,
    /// Install without asking
    #[arg(long, short)]
    yes: bool,
}

impl Installing {
    fn consent(&self) -> Consent {
        Consent::from_options(self.no_install, self.yes)
    }
}

#[derive(Subcommand)]
enum Task {
    /// Set up the machine, then build and run the particle demo; the demo's options follow (try
    /// --help)
    #[command(disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up the machine, then run every test it can run and list what was skipped; the options of
    /// cargo test follow
    #[command(disable_help_flag = true)]
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up the machine, then benchmark the bridge against raw calls, into target/bench; the
    /// benchmark's options follow (try --help)
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check whether this machine is supported and, if not, explain why and what to do; its options
    /// follow (try --help)
    #[command(disable_help_flag = true)]
    Doctor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Install what the demo and the tests need: Vulkan loader and device, validation layer, Xvfb
    Setup {
        #[command(flatten)]
        installing: Installing,
    },
    /// Compile shaders/*.cu to PTX with NVRTC, which is downloaded; needs no GPU and no CUDA
    /// toolkit
    Kernels {
        /// Compare with the existing files instead of writing them
        #[arg(long)]
        check: bool,
    },
    /// Compare the public API of the published crates with the text in docs/api
    Api {
        /// Write the text instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Write the figures in README.md, BENCHMARKS.md and docs/python.md from benches/results
    Tables {
        /// Compare with the existing figures instead of writing them
        #[arg(long)]
        check: bool,
    },
    /// Run random sequences of operations against models; see docs/testing.md
    Fuzz {
        /// The total duration, in seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The seed of the first case; later cases count up from it
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Run only this target
        #[arg(long)]
        target: Option<String>,
    },
    /// Run mutants of the code that calls a device, made by `cargo mutants`, on the driver double
    Mutants {
        /// Files in `crates/bridge/src`; by default those listed in docs/testing.md
        files: Vec<String>,
        /// Run only mutants whose name contains this text; may be given several times to run the
        /// mutants that match any of them
        #[arg(long)]
        only: Vec<String>,
        /// Run only these programs of the step `double`, or `doubled`; fewer programs build faster
        #[arg(long)]
        with: Vec<String>,
    },
    /// Kill either of two processes that share frames, in each of its states, and check that the
    /// other continues (Linux)
    KillMatrix {
        /// How many times each kill is repeated
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// The backend of the workers: host or cuda
        #[arg(long, default_value = "host", value_parser = ["host", "cuda"])]
        backend: String,
        /// Run the tests at the same time, each in a process of its own. Frames may then take longer
        /// than the goals allow
        #[arg(long)]
        parallel: bool,
        /// Instead, run one renderer for this many minutes while its worker is killed every few
        /// seconds, and check that memory, descriptors and threads do not grow
        #[arg(long, conflicts_with_all = ["rounds", "parallel"], value_parser = clap::value_parser!(u32).range(1..))]
        minutes: Option<u32>,
    },
    /// Check the programs that must not compile: compare their errors with those in
    /// crates/bridge/tests/compile_fail
    Misuse {
        /// Write the errors instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Check and lint the workspace for Windows, and run its programs under Wine, with the tests
    /// that can fail only on Windows
    Windows {
        /// Run every test under Wine
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        installing: Installing,
    },
    /// Build, inspect and test the Python wheel for publishing, for glibc 2.28 and later, into
    /// target/wheel/dist; downloads zig, about 100 MB (Linux)
    Wheel {
        /// The cargo profile to build with
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// Run the quick checks: format, clippy and unit tests of the crates, and the tests on the
    /// driver double
    Check,
    /// Run all of continuous integration, or some of its steps
    Ci {
        /// Print the names of the steps and exit
        #[arg(long)]
        list: bool,
        /// Run only this step; may be given several times, and the steps run in the given order
        #[arg(long = "step", value_name = "NAME", conflicts_with = "list")]
        steps: Vec<String>,
        /// Skip this step; may be given several times
        #[arg(long, value_name = "NAME", conflicts_with_all = ["steps", "list"])]
        without: Vec<String>,
        /// Run the steps one after another, none in parallel
        #[arg(long)]
        serial: bool,
    },
}

fn main() -> ExitCode {
    if let Some(real) = env::var_os(api::RUSTDOC_VARIABLE) {
        return exit_code(api::run_as_rustdoc(Path::new(&real)));
    }
    if env::var_os(lint::TOOLS_VARIABLE).is_some() {
        return exit_code(lint::run_as_tool());
    }
    exit_code(match Arguments::parse().task {
        Task::Demo { .. } => programs::demo(passthrough_arguments(true)),
        Task::Bench { .. } => bench::run(&passthrough_arguments(true)),
        Task::Doctor { .. } => programs::doctor(passthrough_arguments(true)),
        Task::Test { .. } => test::run(&passthrough_arguments(false))
            .map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Setup { installing } => success(setup::run(Scope::Tests, installing.consent())),
        Task::Kernels { check } => success(kernels::run(check)),
        Task::Api { update } => success(api::run(update)),
        Task::Tables { check } => success(publish::tables(check)),
        Task::Windows { all, installing } => success(windows::run(installing.consent(), all)),
        Task::Misuse { update } => success(ci::misuse(update)),
        Task::Fuzz { seconds, seed, target } => success(fuzz::run(target.as_deref(), seconds, seed)),
        Task::Mutants { files, only, with } => success(test::mutants(&files, &only, &with)),
        Task::KillMatrix { backend, minutes: Some(minutes), .. } => success(ci::kill_soak(minutes, backend == "cuda")),
        Task::KillMatrix { rounds, backend, parallel, .. } => {
            success(ci::kill_matrix(rounds, backend == "cuda", parallel))
        }
        Task::Wheel { profile } => success(wheel::run(&profile)),
        Task::Check => success(ci::check()),
        Task::Ci { list: true, .. } => success(ci::list()),
        Task::Ci { steps, without, serial, .. } => {
            ci::end_with_parent();
            success(ci::run(&steps, &without, serial))
        }
    })
}

fn exit_code(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn success(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// Returns the arguments after the command's name, to be passed on unchanged. clap would drop a
/// `--` that is meant for libtest. `drop_dashes` drops a leading `--`, which a program would not
/// accept.
fn passthrough_arguments(drop_dashes: bool) -> Vec<OsString> {
    let mut words: Vec<_> = env::args_os().skip(2).collect();
    if drop_dashes && words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    words
}
