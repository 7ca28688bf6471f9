//! Frames, their order and their ends. The tests are one program, because each program links wgpu,
//! and run one after the other, because live objects are counted per process.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod callbacks;
mod closed;
mod faults;
mod foreign;
mod kept;
mod late;
mod lifetimes;
mod lost;
mod newest;
mod rates;
mod recycled;
mod refused;
mod replace;
mod slots;
mod stalled;
#[path = "../support/mod.rs"]
mod support;
mod validation;
