//! Kernels that cuda-import loads and launches: the compiler log, the calls of a launch, and
//! failures.
#![allow(unsafe_code, clippy::unwrap_used, reason = "launches are unsafe")]

use std::ffi::{CStr, CString, c_void};

use crate::common::walk::{Operation, walk};
use crate::common::world::{NAME, World, device, import_memory, import_semaphore, map};
use crate::common::{assert_clean, kinds};
use cuda_import::cudarc::driver::{DevicePtr, LaunchConfig};
use cuda_import::{CudaDevice, Error, Kernel, KernelModule, SemaphoreKind, leaks, query, wait_one};
use driver_double::Double;

const PTX: &CStr = c".version 8.0
.target sm_52
.address_size 64
.visible .entry fill(.param .u64 fill_to, .param .u32 fill_value, .param .u64 fill_len) { ret; }
";

const BROKEN: &CStr = c".version 8.0
.target sm_52
.visible .entry fill(.param .ptr fill_to) { ret; }
";

const SHAPE: LaunchConfig = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (64, 1, 1), shared_mem_bytes: 0 };

fn fill(device: &CudaDevice) -> Kernel {
    KernelModule::new(device, NAME, PTX).unwrap().kernel("fill").unwrap()
}

/// Returns pointers to the arguments.
fn pointers(args: &(u64, u32, u64)) -> [*const c_void; 3] {
    [(&raw const args.0).cast(), (&raw const args.1).cast(), (&raw const args.2).cast()]
}

#[test]
fn broken_text_is_reported_with_the_compilers_log() {
    let Some(double) = Double::in_child("kernels::broken_text_is_reported_with_the_compilers_log") else { return };
    let device = device();
    let error = KernelModule::new(&device, "brook", BROKEN).unwrap_err();
    assert!(matches!(error, Error::Compile { .. }), "{error:?}");
    assert_eq!(error.driver_code().map(|code| code.0), Some(218));
    let text = error.to_string();
    for part in ["\"brook\"", device.name(), "CUDA_ERROR_INVALID_PTX (218)", "ptx input, line 3; error"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A text for which the compiler writes no log.
    let error = KernelModule::new(&device, "brook", c".version 8.0").unwrap_err();
    assert!(matches!(error, Error::Driver { call: "cuModuleLoadDataEx", .. }), "{error:?}");
    let module = KernelModule::new(&device, "brook", PTX).unwrap();
    for name in ["fills", "fill\0"] {
        let error = module.kernel(name).unwrap_err();
        assert_eq!(error.driver_code().map(|code| code.0), Some(500), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("{name:?}")) && text.contains("\"brook\""), "{text}");
    }
    assert_eq!(module.kernel("fill").unwrap().module().name(), "brook");
    drop((module, device));
    assert_clean(&double);
}

/// The driver takes the size of a binary module from its header, and would read beyond the bytes of
/// a `CStr`. Binary modules, and texts that are too short for PTX, never reach the driver.
#[test]
fn only_ptx_reaches_the_driver() {
    let Some(double) = Double::in_child("kernels::only_ptx_reaches_the_driver") else { return };
    let device = device();
    // A cubin, a fatbin, a fatbin in its wrapper, LLVM bitcode, a library, and texts.
    let others: [&CStr; 9] = [
        c"\x7fELF\x02\x01\x01",
        c"\x50\xed\x55\xba\x01",
        c"\xb1\x43\x62\x46\x01",
        c"BC\xc0\xde",
        c"!<arch>\n",
        c"",
        c".",
        c"// nothing",
        c"PTX .version 8.0",
    ];
    for bytes in others {
        double.forget_calls();
        let error = KernelModule::new(&device, "brook", bytes).unwrap_err().to_string();
        assert!(error.contains("\"brook\"") && error.contains("PTX"), "{bytes:?}: {error}");
        assert!(double.calls().iter().all(|call| call.name != "cuModuleLoadDataEx"), "{bytes:?}");
    }
    for before in ["", "// made by hand\n", "/* made by hand */", " \r\n\t"] {
        let text = CString::new([before.as_bytes(), PTX.to_bytes()].concat()).unwrap();
        KernelModule::new(&device, "brook", &text).unwrap();
    }
    drop(device);
    assert_clean(&double);
}

/// A launch is a single call if the context is current, and passes its arguments; the memory that
/// they point to is checked when it runs.
#[test]
fn a_launch_is_one_call_and_never_waits() {
    let Some(double) = Double::in_child("kernels::a_launch_is_one_call_and_never_waits") else { return };
    let device = device();
    let stream = device.new_stream().unwrap();
    let kernel = fill(&device);
    let buffer = map(&import_memory(&double, &device), &stream);
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let rendered = import_semaphore(&device, exported, SemaphoreKind::Timeline);
    // SAFETY: the signal follows below, and the timeline outlives it.
    unsafe { wait_one(&stream, &rendered, 1) }.unwrap();

    device.context().bind_to_thread().unwrap();
    let args = (buffer.view().device_ptr(&stream).0, 7, 64);
    double.forget_calls();
    // SAFETY: the double does not run the kernel; three arguments of the kernel's sizes.
    unsafe { kernel.launch(&stream, &SHAPE, &pointers(&args)) }.unwrap();
    let calls: Vec<_> = double.calls().into_iter().map(|call| call.name).collect();
    assert_eq!(calls, ["cuCtxGetCurrent", "cuLaunchKernel"], "the first launch too");
    assert!(!query(&stream).unwrap());
    double.signal(number, 1);
    assert!(query(&stream).unwrap());
    assert_eq!(double.findings(), Vec::new());

    // SAFETY: as above; nothing is at the address.
    unsafe { kernel.launch(&stream, &SHAPE, &pointers(&(args.0 + (1 << 20), 7, 64))) }.unwrap();
    assert_eq!(kinds(&double.findings()), ["out-of-bounds"], "what it is given arrives");
}

#[test]
fn launches_that_are_refused() {
    let Some(double) = Double::in_child("kernels::launches_that_are_refused") else { return };
    let world = World::new(&double, 1);
    let kernel = fill(&world.device);
    let other = CudaDevice::adopt(world.unrelated.clone()).unwrap();
    let unrelated = other.new_stream().unwrap();
    let args = (0, 7, 64);
    // SAFETY: as above.
    let error = unsafe { kernel.launch(&unrelated, &SHAPE, &pointers(&args)) }.unwrap_err();
    assert!(matches!(error, Error::ContextMismatch { .. }) && error.to_string().contains("\"fill\""), "{error}");
    let none = LaunchConfig { block_dim: (0, 1, 1), ..SHAPE };
    // SAFETY: as above.
    let error = unsafe { kernel.launch(&world.home, &none, &pointers(&args)) }.unwrap_err().to_string();
    assert!(error.contains("cuLaunchKernel failed: CUDA_ERROR_INVALID_VALUE (1)"), "{error}");
    assert!(error.contains("kernel \"fill\" of module \"walked\""), "{error}");
    drop((kernel, unrelated, other, world));
    assert_clean(&double);
}

/// A module is unloaded once, with its last kernel.
#[test]
fn a_module_lives_as_long_as_its_kernels() {
    let Some(double) = Double::in_child("kernels::a_module_lives_as_long_as_its_kernels") else { return };
    let device = device();
    let module = KernelModule::new(&device, NAME, PTX).unwrap();
    let kernel = module.kernel("fill").unwrap();
    let again = kernel.clone();
    drop((module, kernel));
    let modules = || double.live().iter().filter(|object| object.kind() == "module").count();
    assert_eq!(modules(), 1);
    drop(again);
    assert_eq!((modules(), leaks()), (0, 0));
    drop(device);
    assert_clean(&double);
}

#[test]
fn every_call_fails_once() {
    let load = Operation::new("load", |world| {
        world.keep(KernelModule::new(&world.device, NAME, PTX)?.kernel("fill")?);
        Ok(())
    });
    let launch = Operation::new("load, launch", |world| {
        let kernel = KernelModule::new(&world.device, NAME, PTX)?.kernel("fill")?;
        let args = (0, 7, 64);
        // SAFETY: as above; the double only checks addresses, and 0 is none.
        Ok(unsafe { kernel.launch(&world.home, &SHAPE, &pointers(&args)) }?)
    });
    let leaves = &["module", "function", "context"];
    walk(
        "kernels::every_call_fails_once",
        [load, launch].map(|operation| Operation { object: NAME, leaves, ..operation }),
    );
}
