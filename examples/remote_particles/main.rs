//! A renderer whose simulation runs in another process, and which survives the end of that process.
//!
//! `cargo build -p bridge-examples --example remote_worker && cargo run -p bridge-examples
//! --example remote_particles`
//!
//! It starts `remote_worker`, shows the newest complete step in each frame, kills the worker
//! half-way, continues with the last step, and starts another worker. It compares every step with
//! the expected values. With `--out` it writes the last picture.

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
