//! The common part of all programs: opening the device, keeping frames in flight, writing or
//! showing them, checks and the summary.
//!
//! A program is a [`Demo`]; [`main`] runs it.

mod frames;
pub mod gpus;
mod headless;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use bridge::ash::vk;
use bridge::vk_export::Validation;
use bridge::{Compute, OpenInfo, SubmitInfo, TimelinePoint};
use clap::Parser;
use serde::Serialize;
use vk_local::LocalBuffer;

use crate::console::{print, print_error};
use crate::gpu::output::Wanted;
use crate::interrupt;
use crate::options::{Backend, RunOptions};
use crate::summary::{Check, State, Summary};
use frames::Frames;

/// A program that computes and draws frames, and can check how they should look.
///
/// # Safety
/// Dropping it waits for the frames in flight before it frees anything that they use.
#[allow(unsafe_code)]
pub unsafe trait Demo: Sized {
    /// The name of the program, of its window and of its output folder.
    const PROGRAM: &'static str;
    /// The command line options.
    type Options: Parser + AsRef<RunOptions>;
    /// The program's own figures in a summary; their text is a part of the last line.
    type Figures: Serialize + fmt::Display;

    /// Sets everything up; `open` contains the requirements of a window.
    ///
    /// # Errors
    /// A required resource is not available.
    fn new(options: &Self::Options, open: &OpenInfo<'_>) -> Result<Self>;

    /// Returns the compute side and, through it, the device.
    fn compute(&self) -> &Compute;

    /// Returns a one-line description of what is about to run.
    fn about(&self) -> String;

    /// Returns the timeout of a frame.
    fn time_limit(&self) -> Duration;

    /// Submits the compute work and the drawing of frame `frame` in slot `slot`, without waiting.
    /// Returns the point at which Vulkan is done with the frame.
    ///
    /// # Errors
    /// The error of the step that failed.
    ///
    /// # Safety
    /// The last frame in this slot is done. `wanted` and the semaphores in `submit` stay valid
    /// until this frame is done: window images and their semaphores are acquired for this frame,
    /// and the buffer for the sample is not read before that.
    #[allow(unsafe_code)]
    unsafe fn frame(
        &mut self,
        frame: u64,
        slot: usize,
        wanted: Wanted<'_>,
        submit: SubmitInfo<'_>,
    ) -> Result<TimelinePoint>;

    /// Changes the size of the next frames to the size of the window, which is not zero. A program
    /// that always draws at the size in its options does nothing; its picture is fitted into the
    /// window.
    ///
    /// # Errors
    /// A resource of that size is not available.
    ///
    /// # Safety
    /// The GPU has finished every frame that was begun.
    #[allow(unsafe_code)]
    unsafe fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        log::debug!("{}: the picture is fitted into {size:?} pixels", Self::PROGRAM);
        Ok(())
    }

    /// Returns the picture that slot `slot` read back, as RGBA8.
    ///
    /// # Errors
    /// There is no such slot.
    ///
    /// # Safety
    /// The GPU has finished the frame that used the slot last, and no frame is submitted in the
    /// slot while the picture is borrowed.
    #[allow(unsafe_code)]
    unsafe fn picture(&self, slot: usize) -> Result<&[u8]>;

    /// Returns the frames of a run of `frames` that are checked, and the bytes of shared data that
    /// each check needs.
    fn samples(&self, frames: u64) -> (Vec<u64>, u64);

    /// Checks the frames that were sampled.
    ///
    /// # Errors
    /// The checks cannot be made. The results of the checks themselves are in the return value.
    fn check(&self, samples: &BTreeMap<u64, Sample>) -> Result<Vec<Check>>;

    /// Returns the program's own figures for a run of `frames` frames in `seconds`.
    fn figures(&self, frames: u64, seconds: f64) -> Self::Figures;
}

/// A frame that is checked after the run.
pub struct Sample {
    /// The data that compute and rendering shared, as Vulkan read it.
    pub data: LocalBuffer,
    /// The picture as RGBA8.
    pub picture: Vec<u8>,
}

impl Sample {
    /// Returns the shared data as elements of `T`.
    ///
    /// # Errors
    /// The size is not a multiple of an element's size.
    ///
    /// # Safety
    /// The GPU has finished the frame that wrote the data.
    #[allow(unsafe_code)]
    pub unsafe fn data<T: bytemuck::Pod>(&self) -> Result<&[T]> {
        // SAFETY: one frame writes it, with a barrier to the host after the copy; the caller has
        // waited for that frame.
        let bytes = unsafe { self.data.bytes() }.context("the read-back memory of a sample is not mapped")?;
        bytemuck::try_cast_slice(bytes).map_err(|error| anyhow::anyhow!("a sample: {error}"))
    }
}

/// Opens the Vulkan device and the compute side that the options select, with dynamic rendering;
/// `features` are the Vulkan 1.0 features that the program needs.
///
/// # Errors
/// The device or the backend is not available.
pub fn open(
    program: &str,
    options: &RunOptions,
    open: &OpenInfo<'_>,
    features: vk::PhysicalDeviceFeatures,
) -> Result<Compute> {
    let info = OpenInfo {
        application_name: program,
        device: options.gpu.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
        validation: if options.validate { Validation::Required } else { Validation::Off },
        features,
        dynamic_rendering: true,
        cuda_kernels: options.backend == Backend::Inline,
        ..open.clone()
    };
    Ok(Compute::open(&info, options.backend.into())?)
}

/// Runs a program from its command line to its exit status.
pub fn main<D: Demo>() -> ExitCode {
    // `announce` prints which backend computes, and why.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,bridge::compute=error")).init();
    let options = D::Options::parse();
    let window = options.as_ref().window;
    let result = if window { window::run::<D>(&options) } else { headless::run::<D>(&options) };
    match result.and_then(|summary| report(options.as_ref(), &summary)) {
        Ok(code) => code,
        Err(error) => {
            print_error(format_args!("error: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Returns the error and its causes, without causes whose text is already part of an outer error.
fn chain(error: &Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |message, cause| match message.as_str() {
        "" => cause,
        above if above.contains(&cause) => message,
        _ => format!("{message}: {cause}"),
    })
}

/// Prints on the error stream what is about to run, on which device and backend, and why.
fn announce<D: Demo>(demo: &D) {
    let compute = demo.compute();
    print_error(demo.about());
    let device = compute.device().name();
    print_error(format_args!("renders on {device}, computes on {} ({})", compute.backend(), compute.reason()));
}

/// Returns the figures of a run that took `seconds`; the only check is that of the validation
/// layer.
fn summary<D: Demo>(options: &RunOptions, run: &Frames<D>, seconds: f64) -> Summary<D::Figures> {
    let (compute, frames) = (run.demo.compute(), run.count());
    let device = compute.device();
    let validation = device.is_validated().then(|| {
        let messages = device.validation_messages();
        let error = messages.first().map(|message| format!("{}: {}", message.id, message.text));
        Check { frame: frames.saturating_sub(1), kind: "validation", compared: None, psnr: None, error }
    });
    Summary {
        program: D::PROGRAM,
        version: env!("CARGO_PKG_VERSION"),
        state: State::Complete,
        device: device.name().to_owned(),
        backend: compute.backend().to_string(),
        backend_reason: compute.reason().to_owned(),
        slots: options.slots,
        size: options.extent(),
        seed: options.seed,
        frames,
        frames_asked: options.frames.map(u64::from),
        seconds,
        ms_per_frame: if frames > 0 { seconds * 1e3 / frames as f64 } else { 0.0 },
        figures: run.demo.figures(frames, seconds),
        checks: validation.into_iter().collect(),
        out: None,
        pictures: 0,
        animation: false,
    }
}

/// Prints the summary; errors of checks go to the error stream.
fn report<F: Serialize + fmt::Display>(options: &RunOptions, summary: &Summary<F>) -> Result<ExitCode> {
    for error in summary.checks.iter().filter_map(|check| check.error.as_deref()) {
        print_error(format_args!("error: {error}"));
    }
    let text = if options.json { summary.json()? } else { summary.to_string() };
    print(&format!("{text}\n"))?;
    Ok(match summary.state {
        State::Complete => ExitCode::SUCCESS,
        State::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        State::Failed => ExitCode::FAILURE,
    })
}
