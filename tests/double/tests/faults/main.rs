//! Every driver call of every public operation fails once.
#![cfg(any(target_os = "linux", windows))]

#[path = "../common/mod.rs"]
mod common;

mod images;
mod operations;
mod peers;
