//! A renderer whose simulation is another process, and which outlives it.
//!
//! `cargo build -p bridge-examples --example remote_worker && cargo run -p bridge-examples
//! --example remote_particles`
//!
//! It starts `remote_worker`, shows the newest whole step in each frame, kills the worker half-way,
//! goes on with the last step, and starts another. Every step that it is given is compared with
//! what it should be. With `--out` the last picture is written.

#[cfg(target_os = "linux")]
mod orbit;

#[cfg(target_os = "linux")]
mod renderer;

#[cfg(target_os = "linux")]
fn main() {
    env_logger::init();
    if let Err(error) = renderer::run() {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("remote_particles: two processes are written for Linux only");
    std::process::exit(1);
}
