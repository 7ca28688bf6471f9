//! `bridge-worker`, with CUDA.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod ends;
mod forgotten;
mod frames;
mod loggers;
mod own_rate;
mod reads;
mod short;
mod steps;
mod steps_reads;
mod steps_torn;
mod steps_unsent;
