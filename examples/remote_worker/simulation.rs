//! The simulation, on a CUDA stream or on the CPU.
#![allow(unsafe_code)] // Kernel launches.

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::time::Duration;

use bridge_worker::cuda_import;
use bridge_worker::cudarc::driver::LaunchConfig;
use bridge_worker::{Backend, Buffer, CudaWork, HostWork, Kernel, KernelModule, Uuid, Work, Worker, WorkerInfo};
use clap::Parser;

use crate::orbit;

/// The PTX of the kernel in `shaders/remote.cu`.
const KERNELS: &str = include_str!("../../shaders/remote.ptx");

/// The minimum duration of a step.
const STEP: Duration = Duration::from_millis(2);

/// Moves particles for a renderer in another process
#[derive(Parser)]
struct Options {
    /// Where the renderer listens, as `remote_particles --listen SOCKET` says
    socket: PathBuf,
    /// What to compute with, cuda or host; without it CUDA, or the CPU where that cannot be
    #[arg(long, value_parser = ["cuda", "host"])]
    backend: Option<String>,
    /// The GPU to compute on, by the UUID that `nvidia-smi -L` prints; without it the one that
    /// draws
    #[arg(long, value_parser = uuid)]
    gpu: Option<Uuid>,
}

fn uuid(text: &str) -> Result<Uuid, String> {
    text.strip_prefix("GPU-").unwrap_or(text).parse().map_err(|error| format!("{error}"))
}

pub(crate) fn main() {
    env_logger::init();
    if let Err(error) = simulate(&Options::parse()) {
        eprintln!("remote_worker: {error}");
        // The end of the renderer is not an error of the simulation.
        let ended = matches!(error, bridge_worker::Error::PeerLost { .. } | bridge_worker::Error::Closed { .. });
        std::process::exit(i32::from(!ended));
    }
}

fn simulate(options: &Options) -> Result<(), bridge_worker::Error> {
    let backend = options.backend.as_deref().map(|name| if name == "cuda" { Backend::Cuda } else { Backend::Host });
    let worker =
        Worker::connect_with(&options.socket, &WorkerInfo { backend, device: options.gpu, ..Default::default() })?;
    // Loaded before the first frame, because loading may wait for all work of the GPU's streams.
    let kernel = worker.cuda().map(load).transpose()?;
    match worker.cuda() {
        Some(device) => println!("the worker computes with CUDA on {}: {}", device.name(), worker.reason()),
        None => println!("the worker computes on the CPU: {}", worker.reason()),
    }
    let mut writer = worker.latest::<Buffer<[f32; 4]>>(orbit::NAME)?;
    let mut particles = Vec::new();
    for step in 0u32.. {
        let mut turn = writer.begin()?;
        match (turn.work(), &kernel) {
            (Work::Cuda(work), Some(kernel)) => launch(kernel, &work, step)?,
            (Work::Host(mut work), _) => compute(&mut work, &mut particles, step)?,
            // With CUDA there is always a kernel.
            _ => {}
        }
        turn.publish()?;
        std::thread::sleep(STEP);
    }
    Ok(())
}

fn load(device: &cuda_import::CudaDevice) -> Result<Kernel, cuda_import::Error> {
    // The PTX text contains no NUL.
    let text = CString::new(KERNELS).unwrap_or_default();
    KernelModule::new(device, "remote.ptx", &text)?.kernel("orbit")
}

/// Enqueues a step.
fn launch(kernel: &Kernel, work: &CudaWork<'_, Buffer<[f32; 4]>>, step: u32) -> Result<(), cuda_import::Error> {
    // `remote_particles` uses at most 4 Mi particles.
    let (particles, len) = (work.resources.as_raw(), u32::try_from(work.resources.len()).unwrap_or(u32::MAX));
    let args: [*const c_void; 3] =
        [std::ptr::from_ref(&particles).cast(), std::ptr::from_ref(&len).cast(), std::ptr::from_ref(&step).cast()];
    // SAFETY: the three parameters of the kernel, of these types; it writes `len` particles of the
    // slot, which belongs to this turn. The turn is published on the same stream after the launch,
    // and both slot and kernel live until the stream is idle.
    unsafe { kernel.launch(work.stream, &LaunchConfig::for_num_elems(len), &args) }
}

/// Writes a step.
fn compute(
    work: &mut HostWork<'_, Buffer<[f32; 4]>>,
    particles: &mut Vec<[f32; 4]>,
    step: u32,
) -> Result<(), bridge_worker::Error> {
    particles.clear();
    particles.extend((0..work.resources.len()).map(|i| orbit::particle(i, step)));
    work.resources.write_from(0, particles)
}
