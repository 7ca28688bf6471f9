//! Can this machine share memory between CUDA and Vulkan, and if not, why, and what to do.

use std::io::Write;
use std::process::ExitCode;

use bridge_examples::doctor;
use clap::Parser;

/// Can this machine share memory between CUDA and Vulkan, and if not, why, and what to do.
///
/// It looks at the system, at Vulkan and at CUDA, pairs their devices by UUID, and lets a few frames cross on each pair.
#[derive(Parser)]
#[command(name = "doctor", after_help = EXIT_CODES)]
struct Arguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0   CUDA and Vulkan share memory
  1   only the CPU backend works
  2   nothing works
  64  the command line is wrong";

const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // What cannot be printed cannot be reported either.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    env_logger::init();
    let report = doctor::examine(|text| {
        if !arguments.json {
            print(text);
        }
    });
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => print(&format!("{json}\n")),
            Err(error) => eprintln!("error: the report cannot be written as JSON: {error}"),
        }
    }
    ExitCode::from(report.verdict.exit_code)
}

/// Prints at once: what is known is seen even if a driver ends the process. A reader that is gone is no error.
fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
