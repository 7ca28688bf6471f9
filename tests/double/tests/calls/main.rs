//! The driver calls of `cuda-import` and their order: tests that can differ between systems, and
//! is run for each.
#![cfg(any(target_os = "linux", windows))]

#[path = "../common/mod.rs"]
mod common;

mod blocking;
mod captures;
mod current;
mod frames;
mod guards;
mod lifetimes;
mod loggers;
mod lost;
mod machines;
mod modules;
mod nt;
mod order;
mod read_backs;
mod streams;
