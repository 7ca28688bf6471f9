//! The order between the bridge and the engine's submissions. Each test comes with its negative
//! control: the same frames, with one part of the order left out, which the same check must find to
//! show exactly what was there before.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; systems of the engine")]

mod beside;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../../../adapters/gate.rs"]
mod gate;
mod in_step;
mod latest;

/// Held by one test at a time: while a gate holds a stream, CUDA's driver blocks calls of every other
/// test in the process, such as the load of a module, and with them the one that opens it.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
