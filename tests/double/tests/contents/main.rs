//! The contents of memory, images and graphs, and the results of kernels: the same on each
//! system.
#![cfg(any(target_os = "linux", windows))]

#[path = "../common/mod.rs"]
mod common;

mod device_memory;
mod graphs;
mod host_functions;
mod hostile;
mod images;
mod images_order;
mod kernels;
mod large;
mod parts;
mod slice_events;
mod slices;
mod surfaces;
