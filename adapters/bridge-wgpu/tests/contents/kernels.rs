//! CUDA kernels in wgpu's own command buffers.
#![allow(unsafe_code, clippy::unwrap_used)] // A test; launches.

use crate::support::{adapter, bridge_on, read_buffer, validation_messages};
use bridge_wgpu::{Backend, Bridge, Error, LaunchArg, LaunchConfig, wgpu};

const LEN: usize = 4096;
const PTX: &str = include_str!("../../../../shaders/probe.ptx");

/// Returns a device with kernels; `None`, with a skip, if the driver does not support them.
fn with_kernels() -> Option<Bridge> {
    match Bridge::request_device_with_kernels(&adapter(), &wgpu::DeviceDescriptor::default(), Backend::Host) {
        Ok(bridge) => Some(bridge),
        Err(error @ Error::Missing { .. }) => {
            test_support::skip(test_support::Need::Gpu, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_kernels_lack_is_named_at_once() {
    let descriptor = wgpu::DeviceDescriptor::default();
    match Bridge::request_device_with_kernels(&adapter(), &descriptor, Backend::Host) {
        Ok(bridge) => assert!(bridge.launch_buffer::<u32>("words", LEN, wgpu::BufferUsages::COPY_SRC).is_ok()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("VK_NVX_binary_import") && text.contains("VK_NVX_image_view_handle"), "{text}");
        }
    }
    // Unless kernels are requested, a device does not support them, whatever the GPU.
    let bridge = bridge_on(Backend::Host).unwrap();
    let error = bridge.launch_buffer::<u32>("words", LEN, wgpu::BufferUsages::COPY_SRC).unwrap_err();
    assert!(error.to_string().contains("bufferDeviceAddress"), "{error}");
    assert!(bridge.kernel_module("probe", PTX).is_err());
    assert_eq!(validation_messages(), [""; 0]);
}

/// wgpu writes, a kernel adds, wgpu copies: each sees the previous results, in many rounds, in one
/// submission and in several.
#[test]
fn kernels_and_wgpus_commands_alternate() {
    let Some(bridge) = with_kernels() else { return };
    let buffer = |name| bridge.launch_buffer::<u32>(name, LEN, wgpu::BufferUsages::COPY_SRC).unwrap();
    let (sum, addend) = (buffer("sum"), buffer("addend"));
    assert_eq!(read_buffer(&bridge, sum.buffer()), [0; LEN], "it holds zeros at first");
    let module = bridge.kernel_module("probe", PTX).unwrap();
    // Its device is not one that the program may submit to.
    assert!(module.device().queue().with(|_| ()).is_err());
    let (add, fill) = (module.kernel("add").unwrap(), module.kernel("fill_after").unwrap());
    let len = LEN as u32;
    let config = LaunchConfig::for_elements(LEN as u64, 256);
    let adding = || {
        let args = [LaunchArg::from(&sum), LaunchArg::from(&addend), LaunchArg::value(&len)];
        // SAFETY: the kernel's three parameters, and it stays within `len` elements; the module
        // lives until the end.
        unsafe { bridge.launch(&add, &config, &args) }.unwrap()
    };
    for round in 0..200u32 {
        let (base, nanoseconds) = (round * 10, 0u64);
        let args =
            [LaunchArg::from(&sum), LaunchArg::value(&len), LaunchArg::value(&base), LaunchArg::value(&nanoseconds)];
        // SAFETY: the kernel's four parameters, of these types, and it writes `len` elements.
        let filling = unsafe { bridge.launch(&fill, &config, &args) }.unwrap();
        // sum = base + i, addend = sum, sum += addend, addend = sum, sum += addend.
        let copy = || {
            let mut commands = bridge.device().create_command_encoder(&Default::default());
            commands.copy_buffer_to_buffer(sum.buffer(), 0, addend.buffer(), 0, None);
            commands.finish()
        };
        let commands = filling.into_iter().chain([copy()]).chain(adding()).chain([copy()]).chain(adding());
        if round % 2 == 0 {
            bridge.queue().submit(commands);
        } else {
            for commands in commands {
                bridge.queue().submit([commands]);
            }
        }
        let expected: Vec<u32> = (0..len).map(|index| 4 * (base + index)).collect();
        assert_eq!(read_buffer(&bridge, sum.buffer()), expected, "round {round}");
    }
    assert_eq!(validation_messages(), [""; 0]);
}

#[test]
fn launches_that_would_hang_are_refused() {
    let Some(bridge) = with_kernels() else { return };
    let buffer = bridge.launch_buffer::<u32>("words", LEN, wgpu::BufferUsages::COPY_SRC).unwrap();
    let module = bridge.kernel_module("probe", PTX).unwrap();
    let fill = module.kernel("fill_after").unwrap();
    let (len, base, nanoseconds) = (LEN as u32, 0u32, 0u64);
    let good =
        [LaunchArg::from(&buffer), LaunchArg::value(&len), LaunchArg::value(&base), LaunchArg::value(&nanoseconds)];
    let refused = |config: LaunchConfig, args: &[LaunchArg<'_>]| {
        // SAFETY: nothing is recorded.
        unsafe { bridge.launch(&fill, &config, args) }.unwrap_err().to_string()
    };
    refused(LaunchConfig::new([1; 3], [0, 1, 1]), &good);
    refused(LaunchConfig::new([1; 3], [2048, 1, 1]), &good);
    let error = refused(LaunchConfig::for_elements(LEN as u64, 256), &good[..3]);
    assert!(error.contains("takes 4 arguments"), "{error}");
    assert_eq!(validation_messages(), [""; 0]);
}
