//! Particles that CUDA moves and Vulkan draws, in one buffer: the bridge from end to end. `--help` says the rest.
//!
//! | file | does |
//! |---|---|
//! | `demo.rs` | sets both sides up and makes one frame: begin, compute, finish, record, submit |
//! | `compute.rs` | the kernel launch, or its twin on the processor |
//! | `render.rs`, `glow.rs` | the passes |
//! | `headless.rs` | frames to files, and the checks |
//! | `window.rs` | frames to a window |

mod compute;
mod demo;
mod glow;
mod headless;
mod render;
mod window;

use std::process::ExitCode;

use anyhow::{Error, Result};
use bridge_examples::interrupt;
use bridge_examples::particles::options::Options;
use bridge_examples::particles::summary::{Check, PROGRAM, State, Summary};
use clap::Parser;

use demo::Demo;

fn main() -> ExitCode {
    // `announce` tells which backend computes, and why.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,bridge::compute=error")).init();
    let options = Options::parse();
    let result = if options.window { window::run(&options) } else { headless::run(&options) };
    match result.and_then(|summary| report(&options, &summary)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that an error above has told already.
fn chain(error: &Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        above if above.contains(&cause) => told,
        _ => format!("{told}: {cause}"),
    })
}

/// Says on the error stream what is about to run, and why there.
fn announce(options: &Options, demo: &Demo) {
    let scene = options.image.as_ref().map_or("two galaxies".into(), |path| path.display().to_string());
    let compute = demo.compute();
    eprintln!("{} particles, {scene}", demo.scene.particles());
    eprintln!("renders on {}, computes on {} ({})", demo.device.name(), compute.backend(), compute.reason());
}

/// The figures of a run that took `seconds`, without checks other than the validation layer's.
fn summary(options: &Options, demo: &Demo, seconds: f64) -> Summary {
    let validation = demo.device.is_validated().then(|| {
        let messages = demo.device.validation_messages();
        let error = messages.first().map(|message| format!("{}: {}", message.id, message.text));
        Check { frame: demo.frames().saturating_sub(1), kind: "validation", particles: None, psnr: None, error }
    });
    let mut summary = Summary {
        program: PROGRAM,
        version: env!("CARGO_PKG_VERSION"),
        state: State::Complete,
        device: demo.device.name().to_owned(),
        backend: demo.compute().backend().to_string(),
        backend_reason: demo.compute().reason().to_owned(),
        scene: options.image.as_ref().map_or("encounter".into(), |path| path.display().to_string()),
        particles: demo.scene.particles(),
        slots: options.slots,
        size: demo.size,
        seed: options.seed,
        frames: demo.frames(),
        frames_asked: None,
        seconds: 0.0,
        ms_per_frame: 0.0,
        particles_computed_per_second: 0.0,
        particles_drawn_per_second: 0.0,
        checks: validation.into_iter().collect(),
        out: None,
        pictures: 0,
        animation: false,
    };
    summary.set_time(seconds);
    summary
}

/// Prints the summary; what is wrong goes to the error stream.
fn report(options: &Options, summary: &Summary) -> Result<ExitCode> {
    if options.json {
        println!("{}", summary.json()?);
    } else {
        println!("{summary}");
    }
    for error in summary.checks.iter().filter_map(|check| check.error.as_deref()) {
        eprintln!("error: {error}");
    }
    Ok(match summary.state {
        State::Complete => ExitCode::SUCCESS,
        State::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        State::Failed => ExitCode::FAILURE,
    })
}
