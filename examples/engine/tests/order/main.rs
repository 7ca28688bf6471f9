//! The order between the bridge and the engine's submissions. Each test has a negative control that
//! draws the same frames with one part of the synchronization omitted; the same check must find
//! exactly the previous contents.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a test that cannot go on ends; systems of the engine")]

#[path = "../common/mod.rs"]
mod common;
mod concurrent;
#[path = "../../../../adapters/gate.rs"]
mod gate;
mod in_step;
mod latest;

/// Serializes the tests: while a gate holds a stream, CUDA's driver blocks calls of every other
/// test in the process, such as the load of a module, and with them the call that opens the gate.
fn serialize() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
