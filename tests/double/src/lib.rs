//! A stand-in for the CUDA driver, so that `cuda-import` runs unmodified on a machine without a
//! GPU, under watch.
//!
//! Loaded as `libcuda.so`, or `nvcuda.dll`, it implements what `cuda-import` calls, and keeps a
//! ledger: whose descriptor is whose, what is mapped, what a stream waits for, which context is
//! current on which thread. What breaks a rule becomes a *finding*; the real driver would have said
//! nothing. Any call can be made to fail.
//!
//! A test calls [`Double::in_child`] first, which runs the test again in a process of its own with
//! this library where the system looks for the driver. Over there it makes the "exporting side's"
//! descriptors, arms faults and reads the ledger through [`Double`].
//!
//! | file | subject |
//! |---|---|
//! | `client`, `told`, `exporter`, `child` | the tests' side |
//! | `calls/*` | the entry points, as cuda.h has them, and the double's own in `calls/control` |
//! | `gate` | what every call passes: the log, faults, the current context |
//! | `plant` | calls made wrong on purpose, to see that a test finds it |
//! | `ledger`, `table`, `finding` | the state, and what is wrong with it |
//! | `array`, `copy` | images in memory, and copies from and to them |
//! | `stream`, `queue`, `graph` | what streams have still to do, and what is captured of it to be launched again |
//! | `host_function` | what streams call on the host |
//! | `lost` | contexts that a fault has taken |
//! | `export` | what the exporting side made |
//! | `descriptor`, `nt_handle`, `watch`, `refused` | the operating system's handles, and what becomes of those that are refused |
//! | `vulkan` | on Linux, a Vulkan driver that exports to this library's CUDA |
//! | `vmm` | allocations by handle, and addresses that several devices may access |
//! | `module`, `ptx`, `twin` | kernels, what they are launched with, and what those of the tests do |
//! | `client_nt`, `calls/nt` | what there is on Windows alone |
//! | `abi` | codes and layouts of cuda.h |
//!
//! The ledger belongs to the loaded library. A test that linked this crate sees another, unused
//! one: hence the private modules.
#![cfg(any(target_os = "linux", windows))]

mod abi;
mod array;
mod calls;
mod child;
mod client;
#[cfg(windows)]
mod client_nt;
mod copy;
#[cfg(target_os = "linux")]
mod descriptor;
mod export;
mod exporter;
mod finding;
mod gate;
mod graph;
mod host_function;
mod layout;
mod ledger;
mod lost;
mod module;
#[cfg(windows)]
mod nt_handle;
mod plant;
mod ptx;
mod queue;
mod refused;
mod stream;
mod table;
mod told;
mod twin;
mod vmm;
#[cfg(target_os = "linux")]
mod vulkan;
mod watch;

#[cfg(windows)]
use nt_handle as descriptor;

pub use client::Double;
#[cfg(windows)]
pub use client_nt::Shared;
pub use export::ImageShape;
pub use exporter::{Exported, Exporter};
pub use plant::Planted;
pub use refused::Refused;
pub use told::{BlockedCall, Call, Finding, Live};
