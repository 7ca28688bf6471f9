//! Tests with Bevy apps. They are one program, because each program links all of Bevy, and run one
//! after the other, because live objects and the log belong to the process.
#![allow(unsafe_code, clippy::unwrap_used)] // Tests.

mod backends;
mod destroyed;
mod ends;
mod frames;
mod inserted;
mod late;
mod rates;
mod recovered;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
mod validation;
