//! A stand-in for the CUDA driver, so that `cuda-import` runs unmodified on a machine without a GPU, under watch.
//!
//! Loaded as `libcuda.so` it implements what `cuda-import` calls, and keeps a ledger: whose descriptor is whose, what is
//! mapped, what a stream waits for, which context is current on which thread. What breaks a rule becomes a *finding*; the
//! real driver would have said nothing. Any call can be made to fail.
//!
//! A test calls [`Double::in_child`] first, which runs the test again in a process of its own with this library in the
//! library path. Over there it makes the "exporting side's" descriptors, arms faults and reads the ledger through
//! [`Double`].
//!
//! | file | subject |
//! |---|---|
//! | `client`, `child` | the tests' side |
//! | `calls/*` | the entry points, as cuda.h has them, and the double's own in `calls/control` |
//! | `gate` | what every call passes: the log, faults, the current context |
//! | `ledger`, `table`, `finding` | the state, and what is wrong with it |
//! | `array`, `copy` | images in memory, and copies from and to them |
//! | `queue`, `graph` | what streams have still to do, and what is captured of it to be launched again |
//! | `export` | what the exporting side made |
//! | `descriptor` | the operating system's handles |
//! | `abi` | codes and layouts of cuda.h |
//!
//! The ledger belongs to the loaded library. A test that linked this crate sees another, unused one: hence the private
//! modules.
#![cfg(target_os = "linux")]

mod abi;
mod array;
mod calls;
mod child;
mod client;
mod copy;
mod descriptor;
mod export;
mod finding;
mod gate;
mod graph;
mod ledger;
mod queue;
mod table;

pub use client::{Call, Double, Exported, Finding, Live};
pub use export::ImageShape;
