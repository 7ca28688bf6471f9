//! The project's commands, as `cargo xtask COMMAND`.
//!
//! It depends on no crate of the workspace, so that it builds quickly and runs on a machine where
//! nothing is installed yet; its tests depend on `test-support`, which depends on nothing.

mod adapters;
mod api;
mod bench;
mod ci;
mod digest;
mod documented;
mod fuzz;
mod kernels;
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

const AFTER_HELP: &str = "Setup shows what it will install with the system's package manager, as root or through \
    sudo, and asks on a terminal; without one, in CI or with --yes it continues without asking. BRIDGE_NO_INSTALL=1 \
    forbids it to install; then it prints what to type.";

/// What a command may install.
#[derive(Args)]
struct Installing {
    /// Say what is missing instead of installing it
    #[arg(long, visible_alias = "offline", conflicts_with = "yes")]
    no_install: bool,
    /// Install without asking
    #[arg(long, short)]
    yes: bool,
}

impl Installing {
    fn consent(&self) -> Consent {
        Consent::of(self.no_install, self.yes)
    }
}

#[derive(Subcommand)]
enum Task {
    /// Set up, then build and run the particle demo; its own options follow (try --help)
    #[command(disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, then run every test this machine can, and say what was skipped; cargo test's options
    /// follow
    #[command(disable_help_flag = true)]
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Set up, then measure the bridge against raw calls, into target/bench; its own options follow
    /// (try --help)
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Can this machine do it, and if not, why and what to do; its own options follow (try --help)
    #[command(disable_help_flag = true)]
    Doctor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Install what the demo and the tests need: Vulkan loader, a device, validation layer, Xvfb
    Setup {
        #[command(flatten)]
        installing: Installing,
    },
    /// Compile shaders/*.cu to PTX with NVRTC, which it fetches; needs no GPU and no CUDA toolkit
    Kernels {
        /// Compare with the files that are there instead of writing them
        #[arg(long)]
        check: bool,
    },
    /// Compare the public API of the published crates with the text in docs/api
    Api {
        /// Write the text instead
        #[arg(long)]
        update: bool,
    },
    /// Write the figures in README.md, BENCHMARKS.md and docs/python.md from benches/results
    Tables {
        /// Compare with what is there instead
        #[arg(long)]
        check: bool,
    },
    /// Random sequences of operations against models, see docs/testing.md
    Fuzz {
        /// How long to run
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The first case; the others count up from it
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// One target only
        #[arg(long)]
        target: Option<String>,
    },
    /// Run mutants of what calls a device, made by `cargo mutants`, on the driver double
    Mutants {
        /// Files in `crates/bridge/src`; those of docs/testing.md if none is named
        files: Vec<String>,
        /// Only mutants with this in their names; several of them, all that have one of these
        #[arg(long)]
        only: Vec<String>,
        /// Only these programs of the step `double`, or `doubled`: fewer are built sooner
        #[arg(long)]
        with: Vec<String>,
    },
    /// Kill either process of two that share frames, in each state it can be in, and see that the
    /// other goes on (Linux)
    KillMatrix {
        /// How often each
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        /// What the workers compute with: host or cuda
        #[arg(long, default_value = "host", value_parser = ["host", "cuda"])]
        backend: String,
        /// One renderer instead that runs for so long, while its worker is killed every few
        /// seconds: memory, descriptors and threads stay as they are
        #[arg(long, conflicts_with = "rounds", value_parser = clap::value_parser!(u32).range(1..))]
        minutes: Option<u32>,
    },
    /// What must not compile: compare its errors with those in crates/bridge/tests/compile_fail
    Misuse {
        /// Write the errors instead
        #[arg(long)]
        update: bool,
    },
    /// Check and lint the workspace for Windows, and run its programs under Wine, with the tests
    /// that can fail on Windows alone
    Windows {
        /// Run every test under Wine
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        installing: Installing,
    },
    /// Build the wheel of the Python package for publishing, for glibc 2.28 and later, inspect and
    /// test it, into target/wheel/dist; needs the network for zig, some 100 MB (Linux)
    Wheel {
        /// The profile of cargo that it is built with
        #[arg(long, default_value = "release")]
        profile: String,
    },
    /// The quick loop: format, clippy and unit tests of the crates, and the tests on the driver
    /// double
    Check,
    /// All that continuous integration does, or some steps of it
    Ci {
        /// Print the names of the steps and do nothing
        #[arg(long)]
        list: bool,
        /// Run this step only; may be given several times, and the steps run in the given order
        #[arg(long = "step", value_name = "NAME", conflicts_with = "list")]
        steps: Vec<String>,
        /// Leave this step out; may be given several times
        #[arg(long, value_name = "NAME", conflicts_with_all = ["steps", "list"])]
        without: Vec<String>,
        /// One step after another, none beside another
        #[arg(long)]
        serial: bool,
    },
}

fn main() -> ExitCode {
    if let Some(real) = env::var_os(api::AS_RUSTDOC) {
        return ended(api::be_rustdoc(Path::new(&real)));
    }
    if env::var_os(lint::AS_TOOLS).is_some() {
        return ended(lint::be_tool());
    }
    ended(match Arguments::parse().task {
        Task::Demo { .. } => programs::demo(after_the_command(true)),
        Task::Bench { .. } => bench::run(&after_the_command(true)),
        Task::Doctor { .. } => programs::doctor(after_the_command(true)),
        Task::Test { .. } => test::run(&after_the_command(false))
            .map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Task::Setup { installing } => done(setup::run(Scope::Tests, installing.consent())),
        Task::Kernels { check } => done(kernels::run(check)),
        Task::Api { update } => done(api::run(update)),
        Task::Tables { check } => done(publish::tables(check)),
        Task::Windows { all, installing } => done(windows::run(installing.consent(), all)),
        Task::Misuse { update } => done(ci::misuse(update)),
        Task::Fuzz { seconds, seed, target } => done(fuzz::run(target.as_deref(), seconds, seed)),
        Task::Mutants { files, only, with } => done(test::mutants(&files, &only, &with)),
        Task::KillMatrix { backend, minutes: Some(minutes), .. } => done(ci::kill_soak(minutes, backend == "cuda")),
        Task::KillMatrix { rounds, backend, .. } => done(ci::kill_matrix(rounds, backend == "cuda")),
        Task::Wheel { profile } => done(wheel::run(&profile)),
        Task::Check => done(ci::check()),
        Task::Ci { list: true, .. } => done(ci::list()),
        Task::Ci { steps, without, serial, .. } => {
            ci::ends_with_its_parent();
            done(ci::run(&steps, &without, serial))
        }
    })
}

fn ended(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// The words behind the command's name, to be handed on as they are. clap would swallow a `--` that
/// is meant for libtest; `drop_dashes` drops a first one, which a program would not understand.
fn after_the_command(drop_dashes: bool) -> Vec<OsString> {
    let mut words: Vec<_> = env::args_os().skip(2).collect();
    if drop_dashes && words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    words
}
