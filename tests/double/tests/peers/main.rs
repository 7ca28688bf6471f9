//! Memory of one GPU, imported into another.
#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod buffers;
mod foreign_streams;
mod images;
