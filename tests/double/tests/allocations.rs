//! A launch allocates nothing on the heap, however many arguments it has.
#![allow(unsafe_code, clippy::unwrap_used, reason = "a counting allocator, and launches")]
#![cfg(any(target_os = "linux", windows))]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::assert_clean;
use common::world::device;
use cuda_import::KernelModule;
use cuda_import::cudarc::driver::LaunchConfig;
use driver_double::Double;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: forwards to the system allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: forwarded.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The double is a separate library, whose allocations are not counted.
#[test]
fn a_launch_allocates_nothing() {
    let Some(double) = Double::in_child("a_launch_allocates_nothing") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let params: Vec<_> = (0..12).map(|i| format!(".param .u32 p{i}")).collect();
    let text = format!(".version 8.0\n.target sm_52\n.entry many({}) {{ ret; }}\0", params.join(", "));
    let text = std::ffi::CStr::from_bytes_with_nul(text.as_bytes()).unwrap();
    let before = COUNT.get();
    let kernel = KernelModule::new(&device, "many", text).unwrap().kernel("many").unwrap();
    assert!(COUNT.get() > before, "what is made once is counted");
    let values = [7_u32; 12];
    let args = values.each_ref().map(|value| std::ptr::from_ref(value).cast());
    let shape = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };
    for _ in 0..100 {
        let before = COUNT.get();
        // SAFETY: the double does not run the kernel; twelve arguments of four bytes.
        unsafe { kernel.launch(&stream, &shape, &args) }.unwrap();
        assert_eq!(COUNT.get() - before, 0);
    }
    drop((kernel, stream, device));
    assert_clean(&double);
}
