//! Findings of the double about wrong calls.
#![cfg(any(target_os = "linux", windows))]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod images;
