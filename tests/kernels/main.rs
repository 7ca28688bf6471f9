//! CUDA kernels in Vulkan's own command buffers, on a GPU whose driver supports them.
#![allow(unsafe_code, clippy::unwrap_used)] // Recording commands.

mod edges;
mod gpu;
mod images;
mod textures;

use bridge::vk_export::{Error, Kernel, KernelModule, LaunchConfig, Placement, Ptx};
use bridge_tests::PROBE;

use crate::gpu::{Gpu, KERNEL, TRANSFER, address, launch, pack};

/// Not a multiple of any block size.
const LEN: usize = 100_003;

fn for_len() -> LaunchConfig {
    LaunchConfig::for_elements(LEN as u64, 256)
}

/// Records `fill_after`: write `base + i` to element `i` after `nanoseconds`.
fn fill_after(kernel: &Kernel, commands: bridge::ash::vk::CommandBuffer, out: &[u8], base: u32, nanoseconds: u64) {
    let len = (LEN as u32).to_ne_bytes();
    launch(kernel, commands, for_len(), &[out, &len, &base.to_ne_bytes(), &nanoseconds.to_ne_bytes()]);
}

#[test]
fn kernels_between_a_fill_and_a_copy_are_exact() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(PROBE);
    let (fill, add) = (module.kernel("fill_after").unwrap(), module.kernel("add").unwrap());
    let (out, more) = (gpu.buffer(LEN, Placement::DeviceLocal), gpu.buffer(LEN, Placement::DeviceLocal));
    let seen = gpu.buffer(LEN, Placement::HostVisible);
    for (round, queue) in (0..3).flat_map(|round| gpu.queues().map(move |queue| (round, queue))) {
        let base = 1000 * (round + 1);
        gpu.run(queue, |commands| {
            gpu.fill(commands, &more, 7);
            gpu.barrier(commands, TRANSFER, KERNEL);
            fill_after(&fill, commands, &address(&out), base, 0);
            gpu.barrier(commands, KERNEL, KERNEL);
            let len = (LEN as u32).to_ne_bytes();
            launch(&add, commands, for_len(), &[&address(&out), &address(&more), &len]);
            gpu.barrier(commands, KERNEL, TRANSFER);
            gpu.copy(commands, &out, &seen);
        });
        let expected: Vec<u32> = (0..LEN as u32).map(|i| base + i + 7).collect();
        assert!(gpu.words(&seen) == expected, "family {}, round {round}", queue.family());
    }
}

/// Returns what `add` saw of a buffer that `fill_after` was filling before it, with or without a
/// barrier between the two.
fn chained(gpu: &Gpu, kernels: [&Kernel; 2], base: u32, with_barrier: bool) -> Vec<u32> {
    let (between, sum) = (gpu.buffer(LEN, Placement::DeviceLocal), gpu.buffer(LEN, Placement::DeviceLocal));
    let seen = gpu.buffer(LEN, Placement::HostVisible);
    gpu.run(gpu.device.queue(), |commands| {
        gpu.fill(commands, &sum, 0);
        gpu.fill(commands, &between, u32::MAX);
        gpu.barrier(commands, TRANSFER, KERNEL);
        fill_after(kernels[0], commands, &address(&between), base, 2_000_000);
        if with_barrier {
            gpu.barrier(commands, KERNEL, KERNEL);
        }
        let len = (LEN as u32).to_ne_bytes();
        launch(kernels[1], commands, for_len(), &[&address(&sum), &address(&between), &len]);
        gpu.barrier(commands, KERNEL, TRANSFER);
        gpu.copy(commands, &sum, &seen);
    });
    gpu.words(&seen)
}

#[test]
fn a_barrier_orders_kernel_after_kernel() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(PROBE);
    let (fill, add) = (module.kernel("fill_after").unwrap(), module.kernel("add").unwrap());
    let expected = |base: u32| (base..base + LEN as u32).collect::<Vec<_>>();
    for round in 1..=20 {
        assert!(chained(&gpu, [&fill, &add], round, true) == expected(round), "round {round}");
    }
    // The negative control: without the barrier, the second kernel does not wait.
    let stale = (1..=20).filter(|round| chained(&gpu, [&fill, &add], *round, false) != expected(*round)).count();
    assert!(stale > 0, "in order without a barrier: this test could not fail");
}

#[test]
fn arguments_are_copied_when_they_are_recorded() {
    let Some(gpu) = Gpu::new() else { return };
    let module = gpu.module(PROBE);
    let fill = module.kernel("fill_after").unwrap();
    let seen = gpu.buffer(LEN, Placement::HostVisible);
    gpu.run(gpu.device.queue(), |commands| {
        let args: [&[u8]; 4] = [&address(&seen), &(LEN as u32).to_ne_bytes(), &5u32.to_ne_bytes(), &0u64.to_ne_bytes()];
        let mut packed = pack(fill.entry(), &args);
        // SAFETY: recording; the buffer outlives the wait.
        unsafe { fill.record(commands, &for_len(), &packed) }.unwrap();
        packed.fill(0xff);
    });
    assert!(gpu.words(&seen) == (5..5 + LEN as u32).collect::<Vec<_>>());
}

#[test]
fn launches_that_the_driver_refuses_change_nothing() {
    let Some(gpu) = Gpu::new() else { return };
    let head = |version, target| format!(".version {version}\n.target {target}\n.address_size 64\n");
    let (fine, broken) = (".visible .entry f() { ret; }", ".visible .entry f() { frobnicate.u32 %r1, %r2; ret; }");
    for text in [
        head("8.0", "sm_52") + broken,
        head("8.0", "sm_52") + ".visible .entry f() { mov.u32 %r1, 5; ret; }",
        head("99.9", "sm_52") + fine,
        head("8.0", "sm_999") + fine,
    ] {
        let ptx = Ptx::new(&text).unwrap();
        let error = KernelModule::new(&gpu.device, "broken", &ptx).unwrap_err();
        assert!(matches!(error, Error::Vulkan { call: "vkCreateCuModuleNVX", .. }), "{error}: {text}");
        assert!(error.to_string().contains("module \"broken\"") && !error.is_device_lost(), "{error}");
    }
    let module = gpu.module(&(head("8.0", "sm_52") + fine));
    assert!(matches!(module.kernel("g"), Err(Error::NoKernel { .. })));
    module.kernel("f").unwrap();
}

#[test]
fn modules_are_loaded_and_unloaded() {
    let Some(gpu) = Gpu::new() else { return };
    let seen = gpu.buffer(LEN, Placement::HostVisible);
    for round in 0..100 {
        // Only the kernel keeps the module alive.
        let fill = gpu.module(PROBE).kernel("fill_after").unwrap();
        gpu.run(gpu.device.queue(), |commands| fill_after(&fill, commands, &address(&seen), round, 0));
        assert_eq!(gpu.words(&seen)[LEN - 1], round + LEN as u32 - 1);
    }
}
