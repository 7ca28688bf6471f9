//! A simulation in a separate process: particles on orbits, for the renderer in `remote_particles`.
//!
//! `remote_particles` starts it. To start it manually: `cargo run -p bridge-examples --example
//! remote_worker -- SOCKET`. It does not use Vulkan. With CUDA its kernel writes to the memory that
//! the renderer draws from; on the CPU the renderer copies the data. `--backend cuda` or `--backend
//! host` selects the backend; the default is CUDA if both sides support it. If the worker is
//! killed, the renderer loses only the step in progress, and another worker can replace it.

#[cfg(target_os = "linux")]
#[path = "../remote_particles/orbit.rs"]
mod orbit;
#[cfg(target_os = "linux")]
mod simulation;

#[cfg(target_os = "linux")]
fn main() {
    simulation::main();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("remote_worker: two processes are written for Linux only");
    std::process::exit(1);
}
