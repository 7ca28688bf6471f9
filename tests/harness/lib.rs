//! The shared test harness: a device with the validation layer, both backends, and commands that
//! read back.
//!
//! A test is skipped if the machine lacks something that it needs: it prints so and is counted by
//! `cargo xtask test`, or it fails if a GPU is missing and `REQUIRE_GPU` is set. Every [`Rig`]
//! fails its test if the validation layer reported anything.

#![allow(missing_debug_implementations)] // Not published.
#![allow(clippy::unwrap_used)] // A failure of the harness fails its test.

mod commands;
mod compute;
mod engine;
mod fill;
mod gate;
mod layer;
#[cfg(target_os = "linux")]
mod libraries;
mod limits;
mod linear;
mod logger;
mod peers;
mod queues;
mod readback;
mod replaced;
mod rig;
mod trace;
mod waits;

pub use commands::{Commands, to_host};
pub use compute::{case_on, compute, cuda_devices};
pub use engine::{Engine, Hook};
pub use fill::{Filler, PROBE, warm};
pub use gate::Gate;
#[cfg(target_os = "linux")]
pub use libraries::vulkan_libraries;
pub use limits::SmallLimits;
pub use linear::{Linear, device_with, instance_with};
pub use logger::with_panicking_logger;
pub use peers::Peers;
pub use queues::take_submissions;
pub use readback::Readback;
pub use rig::{Rig, assert_silent};
#[cfg(target_os = "linux")]
pub use test_support::Task;
pub use test_support::{Need, Sink, open_descriptors, skip, skip_case};
pub use trace::Events;
pub use waits::SeenWaits;

/// Generates a test from a `fn(&Rig, &Compute)` that tests kernels.
#[macro_export]
macro_rules! on_cuda_alone {
    ($($name:ident),+ $(,)?) => {
        mod on_cuda_alone {
            $(#[test] fn $name() { $crate::Rig::with(bridge::Backend::Cuda, super::$name) })+
        }
    };
}

/// Generates a test from a `fn(&Rig, &Compute)` for each backend.
#[macro_export]
macro_rules! on_both_backends {
    ($($name:ident),+ $(,)?) => {
        mod on_host {
            $(#[test] fn $name() { $crate::Rig::with(bridge::Backend::Host, super::$name) })+
        }
        mod on_cuda {
            $(#[test] fn $name() { $crate::Rig::with(bridge::Backend::Cuda, super::$name) })+
        }
    };
}

/// Generates a test from a `fn(&Rig, &Compute)` for the CPU backend on a device without LINEAR
/// images.
#[macro_export]
macro_rules! on_host_without_linear_images {
    ($($name:ident),+ $(,)?) => {
        mod on_host_without_linear_images {
            $(#[test] fn $name() { $crate::Rig::with_linear($crate::Linear::Missing, super::$name) })+
        }
    };
}

/// Generates a test from a `fn(&Rig, &Compute)` for each compute side, on a device with
/// [`SmallLimits`].
#[macro_export]
macro_rules! on_small_devices {
    ($($name:ident),+ $(,)?) => {
        mod on_a_small_device {
            mod on_host {
                $(#[test] fn $name() { $crate::Rig::with_small_limits(bridge::Backend::Host, super::super::$name) })+
            }
            mod on_cuda {
                $(#[test] fn $name() { $crate::Rig::with_small_limits(bridge::Backend::Cuda, super::super::$name) })+
            }
            mod on_the_drawing_gpu_as_a_peer {
                $(#[test] fn $name() { $crate::Peers::Own.run_with_small_limits(super::super::$name) })+
            }
            mod on_another_gpu {
                $(#[test] fn $name() { $crate::Peers::Other.run_with_small_limits(super::super::$name) })+
            }
            mod on_two_gpus {
                $(#[test] fn $name() { $crate::Peers::Both.run_with_small_limits(super::super::$name) })+
            }
        }
    };
}

/// The examples of the workspace's README, compiled. They are here and not in `bridge`, because its
/// package does not contain that file.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the page on images, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/images.md")]
struct Images;

/// The examples of the page on rates, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/latest.md")]
struct Latest;

/// The examples of the page on two processes, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/processes.md")]
struct Processes;

/// The examples of the page on kernels, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/kernels.md")]
struct Kernels;

/// The examples of the page on embedding, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
struct Embedding;
