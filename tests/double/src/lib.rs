//! A stand-in for the CUDA driver, so that `cuda-import` runs unmodified on a machine without a
//! GPU and is checked for correct use of the driver.
//!
//! Loaded as `libcuda.so` or `nvcuda.dll`, it implements the functions that `cuda-import` calls
//! and keeps a ledger: who owns each descriptor, which memory is mapped, what a stream waits for,
//! which context is current on which thread. Each broken rule becomes a *finding*; the real driver
//! would not report it. Any call can be made to fail.
//!
//! A test first calls [`Double::in_child`], which runs the test again in its own process, with
//! this library installed as the system's driver. There the test creates the descriptors of the
//! exporting side, arms faults and reads the ledger through [`Double`].
//!
//! | file | subject |
//! |---|---|
//! | `client/*`, `record`, `child` | the tests' side |
//! | `calls/*` | the entry points of cuda.h, and the double's own in `calls/control` |
//! | `gate` | the path of every call: the log, faults, the current context |
//! | `plant` | calls altered on purpose, to check that a test detects it |
//! | `ledger`, `table`, `finding` | the state, and the rules that were broken |
//! | `ledger/call_log` | the calls so far, the armed fault and the blocked calls |
//! | `ledger/array`, `ledger/copy`, `layout` | images in memory, and copies from and to them |
//! | `ledger/stream`, `ledger/queue`, `ledger/graph` | pending work of streams, and captured work |
//! | `host_function`, `ledger/host_call` | host functions that streams call |
//! | `ledger/lost` | contexts lost to a fault |
//! | `export` | objects of the exporting side |
//! | `descriptor`, `nt_handle`, `ledger/watch`, `refused` | OS handles, accepted or refused |
//! | `vulkan` | on Linux, a Vulkan driver that exports to this library's CUDA |
//! | `ledger/vmm` | allocations by handle, and addresses that several devices may access |
//! | `ledger/module`, `ledger/twin`, `ptx` | kernels, their arguments and effects |
//! | `client/nt`, `calls/nt` | functions for Windows only |
//! | `abi` | error codes and structure layouts of cuda.h |
//!
//! The ledger belongs to the loaded library. A test that links this crate has a second, unused
//! ledger, which is why the modules are private.
#![cfg(any(target_os = "linux", windows))]

mod abi;
mod calls;
mod child;
mod client;
#[cfg(target_os = "linux")]
mod descriptor;
mod export;
mod finding;
mod gate;
mod host_function;
mod layout;
mod ledger;
#[cfg(windows)]
mod nt_handle;
mod plant;
mod ptx;
mod record;
mod refused;
mod table;
#[cfg(target_os = "linux")]
mod vulkan;

#[cfg(windows)]
use nt_handle as descriptor;

pub use client::Double;
pub use client::exporter::{Exported, Exporter};
#[cfg(windows)]
pub use client::nt::Shared;
pub use export::ImageShape;
pub use plant::Planted;
pub use record::{BlockedCall, Call, Finding, Live};
pub use refused::Refused;
