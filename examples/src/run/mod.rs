//! What the programs do alike: open the machine, keep frames in flight, write or show them, check
//! them, sum up.
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

use crate::console::{print, tell};
use crate::gpu::output::Wanted;
use crate::interrupt;
use crate::options::{Backend, RunOptions};
use crate::summary::{Check, State, Summary};
use frames::Frames;

/// A program: makes one frame after the other, and knows how they should have looked.
///
/// # Safety
/// Dropping it waits for the frames in flight before it frees anything that they use.
#[allow(unsafe_code)]
pub unsafe trait Demo: Sized {
    /// Its name: of the program, of its window and its output folder.
    const PROGRAM: &'static str;
    /// What it can be asked for.
    type Options: Parser + AsRef<RunOptions>;
    /// What it adds to a summary; its text is a part of the last line.
    type Figures: Serialize + fmt::Display;

    /// Sets everything up; `open` says what a window needs of the device.
    ///
    /// # Errors
    /// What cannot be had here.
    fn new(options: &Self::Options, open: &OpenInfo<'_>) -> Result<Self>;

    /// Both sides of the machine.
    fn compute(&self) -> &Compute;

    /// What is about to run, in one line.
    fn about(&self) -> String;

    /// The longest that a frame may take.
    fn patience(&self) -> Duration;

    /// Computes and draws frame `frame` in slot `slot`; waits for neither. Gives the point at which
    /// Vulkan is done with it.
    ///
    /// # Errors
    /// What failed on the way.
    ///
    /// # Safety
    /// The last frame in this slot is done. `wanted` and the semaphores in `submit` are good until
    /// this one is: window images and their semaphores are acquired for this frame, and the buffer
    /// for the sample is not read before.
    #[allow(unsafe_code)]
    unsafe fn frame(
        &mut self,
        frame: u64,
        slot: usize,
        wanted: Wanted<'_>,
        submit: SubmitInfo<'_>,
    ) -> Result<TimelinePoint>;

    /// Draws frames of another size from here on: that of a window, which has an area. A program
    /// that draws at the size of its options alone does nothing; its picture is fitted into the
    /// window.
    ///
    /// # Errors
    /// What cannot be had in that size.
    ///
    /// # Safety
    /// Every frame that was begun is done on the GPU.
    #[allow(unsafe_code)]
    unsafe fn resize(&mut self, size: [u32; 2]) -> Result<()> {
        log::debug!("{}: the picture is fitted into {size:?} pixels", Self::PROGRAM);
        Ok(())
    }

    /// The picture that slot `slot` read back, as RGBA8.
    ///
    /// # Errors
    /// No such slot.
    ///
    /// # Safety
    /// The frame that used the slot last is done on the GPU, and none is submitted in it while the
    /// picture is borrowed.
    #[allow(unsafe_code)]
    unsafe fn picture(&self, slot: usize) -> Result<&[u8]>;

    /// Which frames of a run of `frames` are checked, and how many bytes of shared data each check
    /// needs.
    fn samples(&self, frames: u64) -> (Vec<u64>, u64);

    /// Checks the frames that were sampled.
    ///
    /// # Errors
    /// What keeps the checks from being made; what they find is in the checks.
    fn check(&self, samples: &BTreeMap<u64, Sample>) -> Result<Vec<Check>>;

    /// The program's own figures for a run of `frames` frames in `seconds`.
    fn figures(&self, frames: u64, seconds: f64) -> Self::Figures;
}

/// A frame that is checked when the run is over.
pub struct Sample {
    /// What compute and rendering shared, as Vulkan read it.
    pub data: LocalBuffer,
    /// The picture, RGBA8.
    pub picture: Vec<u8>,
}

impl Sample {
    /// The shared data as elements of `T`.
    ///
    /// # Errors
    /// A size that is no multiple of an element's.
    ///
    /// # Safety
    /// The frame that wrote it is done on the GPU.
    #[allow(unsafe_code)]
    pub unsafe fn data<T: bytemuck::Pod>(&self) -> Result<&[T]> {
        // SAFETY: one frame writes it, with a barrier to the host behind the copy; the caller has
        // waited for that frame.
        let bytes = unsafe { self.data.bytes() }.context("the read-back memory of a sample is not mapped")?;
        bytemuck::try_cast_slice(bytes).map_err(|error| anyhow::anyhow!("a sample: {error}"))
    }
}

/// Opens the Vulkan device and the compute side that the options ask for, with dynamic rendering;
/// `features` are those of Vulkan 1.0 that the program needs.
///
/// # Errors
/// A device or a backend that is not there.
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
    // `announce` tells which backend computes, and why.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,bridge::compute=error")).init();
    let options = D::Options::parse();
    let window = options.as_ref().window;
    let result = if window { window::run::<D>(&options) } else { headless::run::<D>(&options) };
    match result.and_then(|summary| report(options.as_ref(), &summary)) {
        Ok(code) => code,
        Err(error) => {
            tell(format_args!("error: {}", chain(&error)));
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
fn announce<D: Demo>(demo: &D) {
    let compute = demo.compute();
    tell(demo.about());
    let device = compute.device().name();
    tell(format_args!("renders on {device}, computes on {} ({})", compute.backend(), compute.reason()));
}

/// The figures of a run that took `seconds`, without checks other than the validation layer's.
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

/// Prints the summary; what is wrong goes to the error stream.
fn report<F: Serialize + fmt::Display>(options: &RunOptions, summary: &Summary<F>) -> Result<ExitCode> {
    for error in summary.checks.iter().filter_map(|check| check.error.as_deref()) {
        tell(format_args!("error: {error}"));
    }
    let text = if options.json { summary.json()? } else { summary.to_string() };
    print(&format!("{text}\n"))?;
    Ok(match summary.state {
        State::Complete => ExitCode::SUCCESS,
        State::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        State::Failed => ExitCode::FAILURE,
    })
}
