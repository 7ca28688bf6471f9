//! The renderer process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bridge::{Backend, BufferAccess, BufferSpec, ExportDevice, LatestInfo, Listener, OpenInfo, RemoteLatestReader};
use bridge_examples::writer::write_png;
use clap::Parser;

use crate::orbit;

/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(20);
/// The width and height of the picture that is written, in pixels.
const SIDE: u32 = 512;

/// Draws particles that another process moves
#[derive(Parser)]
struct Options {
    /// Frames to draw
    #[arg(long, default_value_t = 120)]
    frames: u32,
    /// Particles
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    particles: u32,
    /// Write the last picture to this folder
    #[arg(long)]
    out: Option<PathBuf>,
    /// Listen here for a worker that is started by hand, instead of starting one; none is killed
    /// then
    #[arg(long)]
    listen: Option<PathBuf>,
    /// What the workers that it starts compute with, cuda or host; without it CUDA, or the CPU
    /// where that cannot be
    #[arg(long, value_parser = ["cuda", "host"])]
    backend: Option<String>,
}

type Reader = RemoteLatestReader<BufferSpec<[f32; 4]>>;

/// A worker process that this program has started and kills when dropped.
struct Worker(Child);

impl Worker {
    fn start(socket: &Path, backend: Option<&str>) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("remote_worker");
        let backend = backend.into_iter().flat_map(|backend| ["--backend", backend]);
        let started = Command::new(&program).arg(socket).args(backend).spawn();
        let hint = "build it with `cargo build -p bridge-examples --example remote_worker`";
        Ok(Self(started.with_context(|| format!("{} does not start; {hint}", program.display()))?))
    }

    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // An error means that the worker has already ended, which needs no report.
        let _ = self.kill();
    }
}

pub(crate) fn run() -> Result<()> {
    let options = Options::parse();
    let device = ExportDevice::open(&OpenInfo::default())?;
    let folder = tempfile::tempdir()?;
    let socket = options.listen.clone().unwrap_or_else(|| folder.path().join("renderer"));
    let listener = Listener::bind(&socket)?;
    let backend = options.backend.as_deref();
    let mut worker = match options.listen {
        None => Some(Worker::start(&socket, backend)?),
        Some(_) => None,
    };
    bridge_examples::console::line(format_args!("Vulkan on {}; listening at {}", device.name(), socket.display()))?;
    let remote = listener.accept(&device, LIMIT)?.context("no worker has come")?;
    let spec = BufferSpec::new(options.particles as usize, BufferAccess::VERTEX_INPUT | BufferAccess::TRANSFER_READ);
    let info = LatestInfo { name: orbit::NAME, ..Default::default() };
    let mut reader = remote.latest(&info, spec)?;
    let how = match reader.compute().backend() {
        Backend::Remote => "writes them into the memory that is drawn",
        _ => "computes on the CPU, and its frames are copied",
    };
    bridge_examples::console::line(format_args!(
        "worker process {} moves {} particles; it {how}",
        reader.pid(),
        options.particles
    ))?;

    let (mut shown, mut steps, mut repeated, mut last) = (Vec::new(), 0, 0, None);
    for frame in 0..options.frames {
        if let Some(worker) = worker.as_mut().filter(|_| frame == options.frames / 2) {
            lose(worker, &mut reader)?;
            *worker = Worker::start(&socket, backend)?;
            reader.reconnect(listener.accept(&device, LIMIT)?.context("no other worker has come")?)?;
            bridge_examples::console::line(format_args!("worker process {} takes its place", reader.pid()))?;
        }
        let Some(turn) = first(&mut reader)? else { bail!("no step has come") };
        if Some(turn.frame()) == last {
            repeated += 1;
        } else {
            ensure!(last < Some(turn.frame()), "frame {} came after {last:?}", turn.frame());
            (last, steps) = (Some(turn.frame()), steps + 1);
        }
        shown = turn.read_back(LIMIT)?;
        check(&shown)?;
        std::thread::sleep(Duration::from_millis(4));
    }
    bridge_examples::console::line(format_args!(
        "{} frames: {steps} steps, {repeated} shown again; every one whole, none older than before",
        options.frames
    ))?;
    if let Some(out) = options.out {
        std::fs::create_dir_all(&out)?;
        let path = out.join("remote_particles.png");
        write_png(&path, &picture(&shown), [SIDE; 2])?;
        bridge_examples::console::line(format_args!("wrote {}", path.display()))?;
    }
    // The second worker is connected to the exchange.
    reader.check_worker()?;
    reader.close()?;
    Ok(())
}

/// Returns the newest step; waits for the first one.
fn first(reader: &mut Reader) -> Result<Option<bridge::RenderRead<BufferSpec<[f32; 4]>>>> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(turn) = reader.newest()? {
            return Ok(Some(turn));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

/// Kills the worker, and checks that its last step can still be shown.
fn lose(worker: &mut Worker, reader: &mut Reader) -> Result<()> {
    worker.kill()?;
    let start = Instant::now();
    let error = loop {
        match reader.check_worker() {
            Err(error) => break error,
            Ok(()) if start.elapsed() > LIMIT => bail!("the worker was killed, and nobody has noticed"),
            Ok(()) => std::thread::yield_now(),
        }
    };
    bridge_examples::console::line(format_args!("killed, reported after {:.1?}: {error}", start.elapsed()))?;
    let left = first(reader)?.context("the last step is gone")?;
    check(&left.read_back(LIMIT)?)
}

/// Checks that all particles are of the same step.
fn check(particles: &[[f32; 4]]) -> Result<()> {
    let step = particles.first().context("there are no particles")?[2];
    for (i, particle) in particles.iter().enumerate() {
        let expected = orbit::particle(i, step as u32);
        ensure!(*particle == expected, "step {step}: particle {i} is {particle:?} and not {expected:?}");
    }
    Ok(())
}

/// Draws each particle as one dot whose color depends on its number. The CPU draws from the data
/// that Vulkan read.
fn picture(particles: &[[f32; 4]]) -> Vec<u8> {
    let side = SIDE as usize;
    let mut picture = [0, 0, 0, 255].repeat(side * side);
    let place = |at: f32| (((at + 1.0) * 0.5 * SIDE as f32) as usize).min(side - 1);
    for [x, y, _, number] in particles {
        let at = 4 * (place(*y) * side + place(*x));
        let color = [90 + (number % 160.0) as u8, 200, 255 - (number % 120.0) as u8];
        picture[at..at + 3].copy_from_slice(&color);
    }
    picture
}
