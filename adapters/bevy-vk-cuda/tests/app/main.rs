//! Apps of Bevy's. One program, since each links all of Bevy; its tests run one after the other,
//! since live objects and the log are the process's.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod destroyed;
mod ends;
mod frames;
mod late;
mod rates;
mod recovered;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
