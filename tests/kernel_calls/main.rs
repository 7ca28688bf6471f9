//! CUDA kernels in command buffers, with replaced functions of `VK_NVX_binary_import`: what is
//! recorded, and what is refused before the driver sees it. No GPU is needed. This is one test,
//! because the functions are shared by the whole process.
#![allow(unsafe_code, clippy::unwrap_used)] // Stand-ins for Vulkan functions.

mod frames;
mod images;
mod stand_in;

use bridge::ash::vk::{self, Handle};
use bridge::vk_export::{Error, ExportDevice, Kernel, KernelModule, LaunchConfig, Ptx};
use bridge_tests::{Engine, Need, Rig, skip};
use stand_in::{FIRST_FUNCTION, FIRST_MODULE, Launch, adopt, seen, with};

const TEXT: &str = "
.version 8.0
.target sm_52
.address_size 64
.extern .func (.param .b32 r) malloc(.param .b64 bytes);
.visible .entry scale(.param .u64 values, .param .u32 len, .param .f32 by) .maxntid 256 { ret; }
.visible .entry idle() { .shared .align 4 .b8 tile[4096]; ret; }
.visible .entry stops() { trap; }
.visible .entry allocates() { call (r), malloc, (b); ret; }
.visible .entry faces(.param .align 8 .b8 all[24]) .reqntid 8, 8 { ret; }
";

#[test]
fn launches_are_recorded_or_refused() {
    if !Rig::open_own().physical().buffer_device_address {
        return skip(Need::Other, "the device has no bufferDeviceAddress");
    }
    // Never destroyed: NVIDIA's driver deadlocks if a device is destroyed while a thread that has
    // used Vulkan exits.
    let engine = Box::leak(Box::new(Engine::new(Some(stand_in::hook))));
    without_the_extension(engine);
    functions_that_are_absent(engine);
    let device = adopt(engine);
    assert!(device.has_cuda_kernels() && device.missing_for_cuda_kernels().is_empty());
    modules_that_do_not_load(&device);
    kernels_that_cannot_be_created(&device);
    everything_is_destroyed_once_and_in_order(&device);
    launches_arrive_byte_for_byte(&device);
    launches_are_refused(&device);
    images::surfaces_and_textures(&device);
    images::one_layer_is_an_array_if_requested(&device);
    images::arrays_of_cubes_need_their_feature(&stand_in::adopt_with(engine, false));
    images::one_layer_is_an_array_to_frames(&device);
    frames::launches_are_recorded_or_refused(&device, &adopt(engine));
    engine.assert_silent();
}

fn ptx() -> Ptx {
    Ptx::new(TEXT).unwrap()
}

fn module(device: &ExportDevice) -> KernelModule {
    KernelModule::new(device, "brook", &ptx()).unwrap()
}

fn without_the_extension(engine: &Engine) {
    // SAFETY: the engine's own handles.
    let device = unsafe { ExportDevice::adopt(engine.info()) }.unwrap();
    assert!(!device.has_cuda_kernels() && !device.has_buffer_device_address());
    let error = KernelModule::new(&device, "brook", &ptx()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let text = error.to_string();
    for part in [device.name(), "VK_NVX_binary_import", "VK_NVX_image_view_handle", "bufferDeviceAddress"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("CUDA stream") || text.contains("AdoptInfo::device_extensions"), "what to do: {text}");
}

fn functions_that_are_absent(engine: &Engine) {
    for name in [c"vkCreateCuModuleNVX", c"vkCmdCuLaunchKernelNVX", c"vkGetImageViewHandleNVX"] {
        with(|seen| seen.absent = Some(name));
        let device = adopt(engine);
        assert!(!device.has_cuda_kernels());
        let error = KernelModule::new(&device, "brook", &ptx()).unwrap_err().to_string();
        assert!(error.contains(name.to_str().unwrap()) && error.contains("really enabled"), "{error}");
    }
    assert!(seen().modules.is_empty());
}

fn modules_that_do_not_load(device: &ExportDevice) {
    with(|seen| seen.module_result = vk::Result::ERROR_INITIALIZATION_FAILED);
    let error = KernelModule::new(device, "brook", &ptx()).unwrap_err();
    assert!(matches!(error, Error::Vulkan { call: "vkCreateCuModuleNVX", .. }), "{error}");
    let text = error.to_string();
    for part in ["module \"brook\"", "PTX 8.0 for sm_52", device.name(), "newer than the driver", "no log", "ptxas"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    with(|seen| seen.module_result = vk::Result::ERROR_DEVICE_LOST);
    assert!(KernelModule::new(device, "brook", &ptx()).unwrap_err().is_device_lost());
    let seen = seen();
    assert_eq!(seen.modules.len(), 2);
    assert!(seen.modules.iter().all(|data| data.strip_suffix(b"\0") == Some(TEXT.as_bytes())), "text and NUL");
    assert!(seen.destroyed.is_empty(), "what was not made is not destroyed");
}

fn kernels_that_cannot_be_created(device: &ExportDevice) {
    let module = module(device);
    let error = module.kernel("scales").unwrap_err();
    assert!(matches!(error, Error::NoKernel { .. }), "{error}");
    let text = error.to_string();
    assert_eq!(text, "module \"brook\" has no kernel \"scales\"; it has scale, idle, stops, allocates, faces");
    assert!(matches!(module.kernel("scale\0"), Err(Error::NoKernel { .. })));
    for (name, why) in [("stops", "`trap` in line 8"), ("allocates", "a call of `malloc` in line 9")] {
        let error = module.kernel(name).unwrap_err();
        assert!(matches!(error, Error::RefusedKernel { .. }), "{error}");
        let text = error.to_string();
        for part in [why, &format!("kernel \"{name}\" of module \"brook\""), "CUDA stream"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert!(with(|seen| seen.functions.is_empty()), "the driver was asked for none of these");
    with(|seen| seen.function_result = vk::Result::ERROR_OUT_OF_HOST_MEMORY);
    let error = module.kernel("scale").unwrap_err();
    assert!(matches!(error, Error::Vulkan { call: "vkCreateCuFunctionNVX", .. }), "{error}");
    assert!(error.to_string().contains("kernel \"scale\" of module \"brook\""), "{error}");
    drop(module);
    assert_eq!(seen().destroyed, [FIRST_MODULE], "and the module is destroyed as ever");
}

fn everything_is_destroyed_once_and_in_order(device: &ExportDevice) {
    let module = module(device);
    let (scale, idle) = (module.kernel("scale").unwrap(), module.kernel("idle").unwrap());
    let again = scale.clone();
    assert_eq!(again.as_raw(), scale.as_raw());
    assert_eq!((scale.module().name(), scale.entry().name()), ("brook", "scale"));
    assert!(module.device().is_same(device));
    drop(module);
    drop(scale);
    assert!(with(|seen| seen.destroyed.is_empty()), "kernels keep their module, and clones their kernel");
    drop(again);
    assert_eq!(with(|seen| seen.destroyed.clone()), [FIRST_FUNCTION]);
    // On another thread, like a reaper.
    std::thread::spawn(move || drop(idle)).join().unwrap();
    let seen = seen();
    assert_eq!(seen.destroyed, [FIRST_FUNCTION, FIRST_FUNCTION + 1, FIRST_MODULE]);
    assert_eq!(seen.functions, [(FIRST_MODULE, "scale".to_owned()), (FIRST_MODULE, "idle".to_owned())]);
}

/// Records into commands that only the replaced functions see.
fn record(kernel: &Kernel, config: &LaunchConfig, args: &[u8]) -> Result<(), Error> {
    // SAFETY: the launch goes to the replaced function, which only records it.
    unsafe { kernel.record(vk::CommandBuffer::from_raw(7), config, args) }
}

fn launches_arrive_byte_for_byte(device: &ExportDevice) {
    let module = module(device);
    let (scale, idle, faces) =
        (module.kernel("scale").unwrap(), module.kernel("idle").unwrap(), module.kernel("faces").unwrap());
    let args: Vec<u8> = (1..=16).collect();
    record(&scale, &LaunchConfig::for_elements(1000, 256), &args).unwrap();
    let config = LaunchConfig::new([0x7fff_ffff, 65_535, 3], [2, 4, 64]).with_shared_bytes(43_008);
    record(&idle, &config, &[]).unwrap();
    // At any alignment of the arguments.
    let shifted: Vec<u8> = (0..25).collect();
    record(&faces, &LaunchConfig::new([1; 3], [8, 8, 1]), &shifted[1..]).unwrap();
    let launch =
        |function, grid, block, shared_bytes, args| Launch { commands: 7, function, grid, block, shared_bytes, args };
    let seen = with(|seen| std::mem::take(&mut seen.launches));
    let expected = [
        launch(FIRST_FUNCTION, [4, 1, 1], [256, 1, 1], 0, Some(args)),
        launch(FIRST_FUNCTION + 1, config.grid, config.block, 43_008, None),
        launch(FIRST_FUNCTION + 2, [1; 3], [8, 8, 1], 0, Some((1..25).collect())),
    ];
    assert_eq!(seen, expected);
    drop((module, scale, idle, faces));
    stand_in::seen();
}

fn launches_are_refused(device: &ExportDevice) {
    let module = module(device);
    let (scale, idle, faces) =
        (module.kernel("scale").unwrap(), module.kernel("idle").unwrap(), module.kernel("faces").unwrap());
    let fine = LaunchConfig::new([1; 3], [64, 1, 1]);
    let block = |block| LaunchConfig::new(fine.grid, block);
    let grid = |grid| LaunchConfig::new(grid, fine.block);
    let cases: &[(&Kernel, LaunchConfig, usize, &str)] = &[
        (&scale, fine, 12, "its 3 arguments have 16 bytes, not 12"),
        (&scale, fine, 17, "not 17"),
        (&scale, fine, 0, "not 0"),
        (&idle, fine, 4, "its 0 arguments have 0 bytes, not 4"),
        (&scale, block([0, 1, 1]), 16, "is empty"),
        (&scale, block([2048, 1, 1]), 16, "the maximum is 1024"),
        (&scale, block([257, 1, 1]), 16, "at most 256 threads"),
        (&faces, fine, 24, "blocks of 8 x 8 x 1 threads"),
        (&scale, grid([1, 0, 1]), 16, "nothing would run"),
        (&scale, grid([1, 65_536, 1]), 16, "nothing would run"),
        (&scale, grid([0x8000_0000, 1, 1]), 16, "nothing would run"),
        (&idle, fine.with_shared_bytes(43_012), 0, "4096 bytes of shared memory declared and 43012 added"),
        (&scale, fine.with_shared_bytes(u32::MAX), 16, "of shared memory"),
    ];
    for (kernel, config, args_len, because) in cases {
        let args = vec![0; *args_len];
        let error = record(kernel, config, &args).unwrap_err();
        assert!(matches!(error, Error::Launch { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(because) && text.contains("of module \"brook\""), "{because}: {text}");
        assert_eq!(kernel.check_launch(config, *args_len).unwrap_err().to_string(), text);
    }
    let seen = seen();
    assert!(seen.launches.is_empty(), "nothing of it was recorded: {:?}", seen.launches);
}
