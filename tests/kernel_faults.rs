//! A CUDA kernel that faults in Vulkan's queue: the device is lost, the error says so, and a new
//! device works. A single test, because it loses its device.
#![allow(unsafe_code, clippy::unwrap_used)] // Recorded commands.

#[path = "kernels/gpu.rs"]
#[allow(dead_code)] // Functions that only the other program uses.
mod gpu;

use std::time::Instant;

use bridge::vk_export::{Buffer, BufferInfo, Error, ExportDevice, Kernel, KernelModule, LaunchConfig, Placement, Ptx};
use bridge_tests::{Need, PROBE, Rig, skip};

/// Runs one thread of a kernel whose first argument is an address.
fn run(device: &ExportDevice, kernel: &Kernel, address: u64) -> Result<(), Error> {
    let mut args = vec![0; kernel.entry().args_size()];
    args[..8].copy_from_slice(&address.to_ne_bytes());
    // For `fill_after`: one element.
    if let Some(len) = args.get_mut(8..12) {
        len.copy_from_slice(&1u32.to_ne_bytes());
    }
    let config = LaunchConfig::new([1; 3], [1; 3]);
    let record = |commands| {
        // SAFETY: recording, outside of a render pass; the fault is what is tested.
        unsafe { kernel.record(commands, &config, &args) }.unwrap();
    };
    // SAFETY: the kernel and the buffer outlive the wait.
    unsafe { device.run_once(device.queue(), "fault", Rig::LONG, record) }
}

fn word(device: &ExportDevice) -> Buffer {
    use bridge::ash::vk::BufferUsageFlags as Usage;
    let usage = Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS;
    Buffer::new(device, &BufferInfo { name: "word", size: 4, usage, placement: Placement::HostVisible }).unwrap()
}

/// Returns a kernel that keeps 100 words across a barrier, in registers if possible.
fn many_registers(bounds: &str) -> String {
    let each = |line: &dyn Fn(u32) -> String| (1..=100).map(line).collect::<String>();
    let loads = each(&|i| format!("    ld.volatile.global.u32 %r{i}, [%rd4];\n"));
    let stores = each(&|i| format!("    st.volatile.global.u32 [%rd4], %r{i};\n"));
    format!(
        ".version 8.0\n.target sm_52\n.address_size 64\n
        .visible .entry many(.param .u64 out) {bounds}
        {{
            .reg .b32 %r<101>;
            .reg .b64 %rd<5>;
            ld.param.u64 %rd1, [out];
            cvta.to.global.u64 %rd2, %rd1;
            mov.u32 %r0, %tid.x;
            mul.wide.u32 %rd3, %r0, 4;
            add.s64 %rd4, %rd2, %rd3;
            {loads}
            bar.sync 0;
            {stores}
            ret;
        }}"
    )
}

/// Blocks with the maximum number of threads run with the registers that the launch bounds leave
/// them.
fn registers(device: &ExportDevice) {
    use bridge::ash::vk::BufferUsageFlags as Usage;
    let usage = Usage::STORAGE_BUFFER | Usage::SHADER_DEVICE_ADDRESS;
    let info = BufferInfo { name: "words", size: 4096, usage, placement: Placement::HostVisible };
    let words = Buffer::new(device, &info).unwrap();
    for (bounds, threads) in [(".maxntid 1024, 1, 1", 1024), ("", 256)] {
        let ptx = Ptx::new(many_registers(bounds)).unwrap();
        let kernel = KernelModule::new(device, "registers", &ptx).unwrap().kernel("many").unwrap();
        let (config, args) =
            (LaunchConfig::new([1; 3], [threads, 1, 1]), words.device_address().unwrap().to_ne_bytes());
        let record = |commands| {
            // SAFETY: recording, outside of a render pass; one word for each thread.
            unsafe { kernel.record(commands, &config, &args) }.unwrap();
        };
        // SAFETY: the kernel and the buffer outlive the wait.
        unsafe { device.run_once(device.queue(), "registers", Rig::LONG, record) }.unwrap();
    }
}

#[test]
fn a_kernel_that_faults_loses_the_device_and_a_new_one_works() {
    if std::env::var_os("BRIDGE_TEST_GPU_FAULTS").is_none() {
        return skip(Need::Other, "it faults the GPU; set BRIDGE_TEST_GPU_FAULTS=1 to run it");
    }
    let Some(device) = gpu::open() else { return skip(Need::Gpu, "no device has VK_NVX_binary_import") };
    let module = KernelModule::new(&device, "faults", &Ptx::new(PROBE).unwrap()).unwrap();
    let (fill, fault) = (module.kernel("fill_after").unwrap(), module.kernel("fault").unwrap());
    let buffer = word(&device);
    let address = buffer.device_address().unwrap();
    run(&device, &fill, address).unwrap();

    registers(&device);

    let start = Instant::now();
    // The kernel writes 4 TiB past its address.
    let error = run(&device, &fault, address).unwrap_err();
    assert!(error.is_device_lost() && error.to_string().contains("recreate the device"), "{error}");
    let error = run(&device, &fill, address).unwrap_err();
    assert!(error.is_device_lost(), "every later call says so: {error}");
    // Objects of a lost device can be destroyed, and are.
    drop((fill, fault, module, buffer, device));
    assert!(start.elapsed() < Rig::LONG, "{:?}", start.elapsed());

    let again = gpu::open().unwrap();
    let module = KernelModule::new(&again, "faults", &Ptx::new(PROBE).unwrap()).unwrap();
    let buffer = word(&again);
    run(&again, &module.kernel("fill_after").unwrap(), buffer.device_address().unwrap()).unwrap();
}
