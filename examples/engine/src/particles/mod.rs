//! Particles that are simulated at a fixed rate on a separate thread, and drawn in every frame of
//! the engine's loop.
//!
//! The system draws from the memory that the simulation writes: the newest finished state, or the
//! last one again if there is no newer one. Neither thread waits for the other.
#![allow(unsafe_code)] // A system of the engine.

pub mod progress;
mod shared;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ash::vk;
use bridge::Compute;
use bridge_examples::shader::spirv;
use engine_core::pipeline::{Pipeline, PipelineInfo};
use engine_core::recorder::Recorder;
use engine_core::system::Semaphores;
use engine_core::{Gpu, Pass, System};
use progress::{Noted, Progress};
use shared::{Lent, Reader, Stepper, newest};

/// The number of bodies.
pub const LEN: usize = 20_000;
/// The size of their vertices in bytes.
const SIZE: u64 = LEN as u64 * 16;
/// The simulated time of a step in seconds.
pub const DT: f32 = 1.0 / 240.0;
/// Steps per second, in the script and in the window.
pub const RATE: u32 = 240;

/// Returns the bodies at step 0, with position and velocity: on a disc that flies apart.
pub fn bodies() -> Vec<[f32; 4]> {
    let body = |i: usize| {
        let mixed = (i as u32).wrapping_mul(0x9e37_79b9);
        let turn = mixed as f32 / u32::MAX as f32 * std::f32::consts::TAU;
        let radius = 0.1 + 0.5 * (mixed.wrapping_mul(0x85eb_ca6b) as f32 / u32::MAX as f32);
        let (sin, cos) = turn.sin_cos();
        [radius * cos, radius * sin, 0.6 * (0.3 * cos - radius * sin), 0.6 * (0.3 * sin + radius * cos)]
    };
    (0..LEN).map(body).collect()
}

/// Advances bodies by `steps` steps, up to step `last`, and writes their vertices: twin of `drift`
/// in `engine.cu`.
pub fn advance(bodies: &mut [[f32; 4]], steps: u32, last: u32, vertices: &mut [[f32; 4]]) {
    let len = bodies.len() as f32;
    for (i, (body, vertex)) in bodies.iter_mut().zip(vertices).enumerate() {
        for _ in 0..steps {
            let [x, y, u, v] = body;
            *x += *u * DT;
            *y += *v * DT;
            for (place, speed) in [(x, u), (y, v)] {
                if *place > 1.0 {
                    (*place, *speed) = (2.0 - *place, -*speed);
                }
                if *place < -1.0 {
                    (*place, *speed) = (-2.0 - *place, -*speed);
                }
            }
        }
        *vertex = [body[0], body[1], last as f32, i as f32 / len];
    }
}

/// The clock of the simulation.
pub trait Clock: Send + 'static {
    /// Returns the number of steps that should be done by now; `made` steps are done.
    fn due(&mut self, made: u32) -> u32;

    /// Waits before the clock is queried again.
    fn pause(&self);
}

/// A clock with a fixed number of steps per second; the first step is due immediately.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    begun: Instant,
    rate: u32,
}

impl Steady {
    /// Starts the clock now.
    pub fn new(rate: u32) -> Self {
        Self { begun: Instant::now(), rate: rate.max(1) }
    }

    fn due_after(&self, passed: Duration) -> u32 {
        (passed.as_secs_f64() * f64::from(self.rate)) as u32 + 1
    }
}

impl Clock for Steady {
    fn due(&mut self, _: u32) -> u32 {
        self.due_after(self.begun.elapsed())
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_secs(1) / (2 * self.rate));
    }
}

/// Signals between the two threads; the states are passed through the exchange.
#[derive(Default)]
struct Signs {
    error: Mutex<Option<anyhow::Error>>,
    stop: AtomicBool,
}

/// The particle system.
pub struct Particles {
    // Field order is drop order: `Drop` ends the thread; then the frame's lent turn is dropped,
    // then the engine's half of the exchange.
    lent: Option<Lent>,
    reader: Reader,
    thread: Option<JoinHandle<()>>,
    signs: Arc<Signs>,
    progress: Arc<Progress>,
    pipeline: Pipeline,
}

impl Particles {
    /// The name of the system.
    pub const NAME: &'static str = "particles";

    /// Starts a simulation that follows the clock.
    ///
    /// # Errors
    /// A required resource is not available.
    pub fn new(gpu: &Arc<Gpu>, compute: &Compute, clock: impl Clock) -> Result<Self> {
        let info = PipelineInfo {
            name: Self::NAME,
            vertex: &spirv("dot.vert")?,
            fragment: &spirv("dot.frag")?,
            topology: vk::PrimitiveTopology::POINT_LIST,
            stride: 16,
            textured: false,
            constants: 0,
        };
        let pipeline = Pipeline::new(gpu, &info)?;
        let ((stepper, reader), signs) = (Stepper::new(compute)?, Arc::<Signs>::default());
        let (theirs, progress) = (Arc::clone(&signs), Arc::<Progress>::default());
        let clock = Noted::new(clock, Arc::clone(&progress));
        let simulate = move || {
            if let Err(error) = simulate(stepper, clock, &theirs.stop) {
                *theirs.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("simulation".into()).spawn(simulate).context("no thread")?;
        Ok(Self { lent: None, reader, thread: Some(thread), signs, progress, pipeline })
    }

    /// Returns the progress of the simulation.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

/// Simulates by the clock until `stop` is set. All steps that are due are done in one launch.
fn simulate(mut stepper: Stepper, mut clock: impl Clock, stop: &AtomicBool) -> Result<()> {
    let mut made = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = clock.due(made);
        if due > made {
            stepper.advance(due - made, due)?;
            made = due;
        }
        clock.pause();
    }
    Ok(())
}

impl Drop for Particles {
    fn drop(&mut self) {
        self.signs.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            log::error!("the simulation panicked");
        }
    }
}

// SAFETY: the simulation's output is drawn after the turn's acquire, and submitted with its
// semaphores; the engine waits for the frames in flight before it drops a system and its pipeline.
unsafe impl System for Particles {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn begin(&mut self, _: u64) -> Result<()> {
        if let Some(error) = self.signs.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        self.lent = newest(&mut self.reader)?;
        Ok(())
    }

    fn before(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            lent.acquire(recorder);
            recorder.sample_buffer(Self::NAME, lent.resources().as_raw(), SIZE);
        }
    }

    fn draw(&mut self, pass: Pass, recorder: &mut Recorder<'_>) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            recorder.draw(&self.pipeline, None, &[], Some(lent.resources().as_raw()), LEN as u32);
        }
    }

    fn semaphores(&self, pass: Pass, semaphores: &mut Semaphores) {
        if let Some(lent) = self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            lent.semaphores(semaphores);
        }
    }

    fn prepare_present(&mut self, pass: Pass) -> Result<()> {
        match self.lent.as_ref().filter(|_| pass == Pass::Scene) {
            Some(lent) => lent.prepare_present().context("the state of a presented frame"),
            None => Ok(()),
        }
    }

    fn submitted(&mut self, pass: Pass, accepted: bool) -> Result<()> {
        if let Some(lent) = self.lent.take_if(|_| pass == Pass::Scene) {
            lent.submitted(accepted);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_clock_is_as_fast_as_it_says() {
        let due = |rate, milliseconds| Steady::new(rate).due_after(Duration::from_millis(milliseconds));
        assert_eq!([0, 249, 251, 1_001].map(|passed| due(4, passed)), [1, 1, 2, 5]);
        assert_eq!([0, 4, 1_001].map(|passed| due(RATE, passed)), [1, 1, 241]);
        assert_eq!(due(0, 1_500), 2, "a rate of nothing is one of one");
    }
}
