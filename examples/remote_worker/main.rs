//! A simulation in a process of its own: particles on orbits, for the renderer in `remote_particles`.
//!
//! `remote_particles` starts it. By hand: `cargo run -p bridge-examples --example remote_worker -- SOCKET`. It knows no Vulkan.
//! Killed, it costs the renderer the step that it was at, and another may take its place.

#[cfg(target_os = "linux")]
#[path = "../remote_particles/orbit.rs"]
mod orbit;

/// The time that a step takes at least.
#[cfg(target_os = "linux")]
const STEP: std::time::Duration = std::time::Duration::from_millis(2);

#[cfg(target_os = "linux")]
fn main() {
    let Some(socket) = std::env::args().nth(1) else {
        eprintln!("usage: remote_worker SOCKET, as `remote_particles --listen SOCKET` says");
        std::process::exit(2);
    };
    if let Err(error) = simulate(&socket) {
        eprintln!("remote_worker: {error}");
        // A renderer that has ended is no failure of the simulation's.
        let ended = matches!(error, bridge_worker::Error::PeerLost { .. } | bridge_worker::Error::Closed { .. });
        std::process::exit(i32::from(!ended));
    }
}

#[cfg(target_os = "linux")]
fn simulate(socket: &str) -> Result<(), bridge_worker::Error> {
    use bridge_worker::{Buffer, Work, Worker};

    let worker = Worker::connect(socket)?;
    let mut writer = worker.latest::<Buffer<[f32; 4]>>(orbit::NAME)?;
    let mut particles = Vec::new();
    for step in 0u64.. {
        let mut turn = writer.begin()?;
        if let Work::Host(mut host) = turn.work() {
            particles.clear();
            particles.extend((0..host.views.len()).map(|i| orbit::particle(i, step)));
            host.views.write_from(0, &particles)?;
        }
        turn.publish()?;
        std::thread::sleep(STEP);
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("remote_worker: two processes are written for Linux only");
    std::process::exit(1);
}
