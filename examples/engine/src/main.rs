//! A small engine on raw Vulkan, with systems that use the bridge: particles that are simulated at
//! their own rate, a texture that CUDA paints, and a post-process that CUDA computes. It checks its
//! own frames and exits with an error if one is wrong.
//!
//! `cargo run -p engine-example -- --frames 300 --out out/engine`, or `--window`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bridge_examples::console::{print, print_error};
use bridge_examples::options::{Backend, Size};
use clap::Parser;
use engine_example::count::{ONCE, SYSTEMS, count};
use engine_example::script::{self, Script};
use engine_example::window;

/// An engine on raw Vulkan with systems of the bridge.
#[derive(Debug, Parser)]
struct Options {
    /// Frames to draw [default: 300; endless in a window]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    frames: Option<u64>,
    /// Folder for pictures of the frames that are checked; created if missing [default: none are
    /// written]
    #[arg(long, value_name = "DIR", conflicts_with = "window")]
    out: Option<PathBuf>,
    /// Width and height of a frame, in pixels
    #[arg(long, value_name = "WxH", default_value = "640x360")]
    size: Size,
    /// Draw in a window
    #[arg(long)]
    window: bool,
    /// Compute backend
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    backend: Backend,
    /// A part of the Vulkan device's name [default: the first]
    #[arg(long, value_name = "GPU")]
    gpu: Option<String>,
    /// Enable the Vulkan validation layer, and fail if it reports anything
    #[arg(long)]
    validate: bool,
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let script = Script {
        frames: options.frames.unwrap_or(300),
        size: [options.size.width, options.size.height],
        backend: options.backend.into(),
        gpu: options.gpu.clone(),
        validate: options.validate,
    };
    if options.window {
        return window::run(&script, options.frames);
    }
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out)
            .with_context(|| format!("cannot make {}; choose another with --out", out.display()))?;
    }
    let report = script::run(&script, options.out.as_deref())?;
    let mut text = format!("{}\n", report.machine);
    text += &format!(
        "{} frames drawn, {} checked: {} checks held; {} states of the particles; {:.1} MiB shared\n",
        report.drawn,
        report.checked,
        report.checks,
        report.states,
        report.shared_bytes as f64 / 1048576.0
    );
    text += "bridge-specific, for each system:\n";
    SYSTEMS.iter().for_each(|file| text += &format!("  {}\n", count(*file)));
    text += "and once for all of them:\n";
    ONCE.iter().for_each(|file| text += &format!("  {}\n", count(*file)));
    print(&text)
}
