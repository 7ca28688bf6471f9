//! The benchmark: the costs of the bridge compared with the same calls written by hand, in one run
//! on one machine.
//!
//! | | |
//! |---|---|
//! | `options` | the command-line options |
//! | `harness/` | samples: their order, number and statistics |
//! | `cold` | the separate process that measures a cold start |
//! | `worker` | the separate process that writes frames |
//! | `gpu` | the device that all cases share, with a queue of each kind |
//! | `raw/` | the calls written by hand |
//! | `cases/` | the measurements |
//! | `report/` | rows, `results.json`, tables, plots |
//!
//! If frames are measured, a sample is a batch of them that ends with a drain. The ways alternate,
//! so that drift affects all of them, and ratios are ratios of medians.

#![deny(clippy::print_stdout, reason = "`println!` panics if the reader has closed the pipe: see `console`")]

mod cases;
mod cold;
mod gpu;
mod harness;
mod options;
mod raw;
mod report;
mod run;
#[cfg(target_os = "linux")]
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use bridge_examples::console;
use clap::Parser;

use options::Options;
use report::publish::publish;
use report::{Results, digest, plots, table};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let options = Options::parse();
    start(&options).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn start(options: &Options) -> Result<ExitCode> {
    if let Some(way) = options.cold_start {
        cold::run(way, options.gpu.as_deref(), options.backend)?;
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(target_os = "linux")]
    if let Some(socket) = &options.worker {
        worker::run(socket, options.backend)?;
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(target_os = "linux")]
    if let Some(gpu) = options.alone {
        worker::run_alone(gpu)?;
        return Ok(ExitCode::SUCCESS);
    }
    if options.list {
        let cases = cases::all(&options.profile());
        let mut listed = cases.iter().filter(|case| options.wants(&case.name));
        listed.try_for_each(|case| console::line(&case.name))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.render_table {
        let wants = |name: &str| if options.only.is_empty() { digest::shows(name) } else { options.wants(name) };
        console::print(&table::markdown(&Results::read(path)?, wants))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.render_plots {
        let folder = path.parent().unwrap_or_else(|| std::path::Path::new("."));
        plots::write(&Results::read(path)?, folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &options.publish_from {
        console::line(format_args!("published: {}", publish(&Results::read(path)?)?.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if run::run(options)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
