//! A simulation in a process of its own: particles on orbits, for the renderer in
//! `remote_particles`.
//!
//! `remote_particles` starts it. By hand: `cargo run -p bridge-examples --example remote_worker --
//! SOCKET`. It uses no Vulkan. With CUDA its kernel writes the memory that the renderer draws; on
//! the CPU the renderer copies. `--backend cuda` or `--backend host` chooses, and without it that
//! is CUDA where both sides have it. Killed, it costs the renderer the step that it was at, and
//! another may take its place.

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
