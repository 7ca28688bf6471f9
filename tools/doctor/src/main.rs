//! Checks whether this machine can share memory between CUDA and Vulkan, and explains what to do if
//! not.

#[allow(dead_code, unreachable_pub, reason = "the demos, whose file this is, need more of it")]
#[path = "../../../examples/src/console.rs"]
mod console;

use std::env;
use std::io;
use std::process::{Command, ExitCode};

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use console::{print, print_error};

/// Checks whether this machine can share memory between CUDA and Vulkan, and explains what to do if
/// not.
///
/// It examines the system, Vulkan and CUDA, pairs their devices by UUID, and shares a few frames on
/// each pair: within one process, and on Linux between two.
#[derive(Parser)]
#[command(name = "doctor", after_help = EXIT_CODES)]
struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,

    /// How this process was started by another doctor
    #[arg(long, hide = true)]
    stage: Option<Stage>,
}

/// The role of a doctor that another doctor started. The first doctor only watches.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Examines the machine. If a driver or a layer ends the process, the first doctor reports it.
    Watched,
    /// Examines the machine without implicit layers, and starts no further process.
    Compared,
    /// Computes for a doctor that draws, as specified by an environment variable.
    Worker,
}

/// Arguments for a doctor that examines the machine without implicit layers.
const COMPARED: &[&str] = &["--json", "--stage", "compared"];

const EXIT_CODES: &str = "\
Exit codes:
  0   CUDA and Vulkan share memory
  1   only the CPU backend works
  2   nothing works
  64  the command line is wrong
  70  a driver or a layer ended the check
  74  the report cannot be written";

const USAGE: u8 = 64;
const ABORTED: u8 = 70;
const CANNOT_WRITE: u8 = 74;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // If printing fails, the failure cannot be reported either.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match arguments.stage {
        None => watch().unwrap_or_else(|| examine(&arguments)).into(),
        Some(Stage::Worker) => work(),
        Some(Stage::Watched) => doctor::layers::mark_end(examine(&arguments)).into(),
        Some(Stage::Compared) => examine(&arguments).into(),
    }
}

#[cfg(target_os = "linux")]
fn work() -> ExitCode {
    doctor::work()
}

#[cfg(not(target_os = "linux"))]
fn work() -> ExitCode {
    print_error(format_args!("error: two processes are written for Linux only"));
    ExitCode::from(USAGE)
}

/// Returns the command that starts this program as a worker.
fn start_worker() -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--stage", "worker"]);
    Ok(command)
}

/// Examines the machine in another process, so that it can be reported if a driver or a layer ends
/// that process. Returns `None` if no process can be started.
fn watch() -> Option<u8> {
    let child =
        Command::new(env::current_exe().ok()?).args(env::args_os().skip(1)).args(["--stage", "watched"]).status();
    let status = child.inspect_err(|error| log::debug!("no second process: {error}")).ok()?;
    let ended = doctor::layers::end_of(status, || doctor::layers::examine_without(COMPARED));
    Some(ended.unwrap_or_else(|text| {
        print_error(format_args!("error: {text}"));
        ABORTED
    }))
}

/// Examines the machine, prints the report and returns the exit code.
fn examine(arguments: &Arguments) -> u8 {
    // Printed immediately, so that the results so far are visible even if a driver ends the
    // process.
    let mut printed = Ok(());
    let show = |text: &str| {
        if !arguments.json && printed.is_ok() {
            printed = print(text);
        }
    };
    let again = || match arguments.stage {
        Some(Stage::Compared) => None,
        _ => doctor::layers::examine_without(COMPARED),
    };
    let worker: Option<doctor::StartWorker<'_>> = match arguments.stage {
        Some(Stage::Compared) => None,
        _ => Some(&start_worker),
    };
    let report = doctor::examine(show, again, worker);
    if arguments.json {
        printed = serde_json::to_string_pretty(&report)
            .map_err(|error| anyhow!("the report cannot be written as JSON: {error}"))
            .and_then(|json| print(&format!("{json}\n")));
    }
    if let Err(error) = printed {
        print_error(format_args!("error: {error:#}"));
        return CANNOT_WRITE;
    }
    report.verdict.exit_code
}
