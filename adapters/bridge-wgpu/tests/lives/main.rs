//! Frames, their order and their ends. One program, since each links wgpu; its tests run one after
//! the other, since live objects are counted for the process.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod callbacks;
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
#[path = "../support/mod.rs"]
mod support;
