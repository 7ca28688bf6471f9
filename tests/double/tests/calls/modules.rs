//! Modules and launches as cudarc calls them: arguments are checked against the mappings, and
//! loading blocks as it does in the driver.
#![allow(unsafe_code, clippy::unwrap_used, reason = "launches, waits and signals are unsafe")]

use std::sync::Arc;

use crate::common::world::{LEN, device, import_image, import_memory, import_semaphore, map, map_image};
use crate::common::{assert_clean, kinds, raw};
use cuda_import::cudarc::driver::{CudaStream, LaunchConfig, PushKernelArg};
use cuda_import::cudarc::nvrtc::Ptx;
use cuda_import::{SemaphoreKind, StreamGraph, TextureInfo, query, signal_one, wait_one};
use driver_double::Double;

const PTX: &str = ".version 8.0
.target sm_52
.address_size 64
.visible .entry two(.param .u64 two_a, .param .u64 two_b) { ret; }
.visible .entry fill(.param .u64 fill_to, .param .u32 fill_value, .param .u64 fill_len) { ret; }
";

/// Creates two streams, the first of which waits for a timeline. Returns them and the number of the
/// timeline.
fn wait_on_first(double: &Double) -> ([u64; 2], u64) {
    let exported = double.export_semaphore(true);
    let number = exported.number;
    let timeline = raw::import_semaphore(exported, true).unwrap();
    let streams = [(); 2].map(|()| raw::create_stream().unwrap());
    assert_eq!(raw::wait(timeline, 1, streams[0]), 0);
    (streams, number)
}

#[test]
fn modules_and_functions_are_looked_up() {
    let Some(double) = Double::in_child("modules::modules_and_functions_are_looked_up") else { return };
    raw::init();
    raw::retain(0);
    assert_eq!([raw::load("\u{7f}ELF"), raw::load(""), raw::load("// nothing")], [Err(200); 3]);
    let module = raw::load(PTX).unwrap();
    assert_eq!(raw::function(module, "three"), Err(500));
    let two = raw::function(module, "two").unwrap();
    assert_eq!(raw::function(module, "two"), Ok(two));
    assert_eq!([0, 1024, 1025].map(|threads| raw::launch_kernel(two, threads, 0, &mut [0; 2])), [1, 0, 1]);
    assert_eq!([raw::unload(module), raw::launch_kernel(two, 1, 0, &mut [0; 2]), raw::unload(module)], [0, 400, 400]);
    // The driver would take the size of a binary from its header, and read beyond these bytes.
    assert_eq!(kinds(&double.findings()), ["not-ptx", "not-ptx", "use-after-destroy", "use-after-destroy"]);
    assert_eq!(raw::release(0), 0);
    assert_clean(&double);
}

/// Every PTX file of the project can be loaded.
#[test]
fn the_projects_own_ptx() {
    let Some(_double) = Double::in_child("modules::the_projects_own_ptx") else { return };
    raw::init();
    raw::retain(0);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let ptx: Vec<_> = files.iter().filter(|file| file.extension().is_some_and(|it| it == "ptx")).collect();
    assert!(ptx.len() >= 3, "{files:?}");
    for file in ptx {
        raw::load(&std::fs::read_to_string(file).unwrap()).unwrap_or_else(|code| panic!("{}: {code}", file.display()));
    }
}

/// Loading a module and the first launch of each function wait for all streams; later launches do
/// not wait.
#[test]
fn loading_waits_and_a_warm_launch_does_not() {
    let Some(double) = Double::in_child("modules::loading_waits_and_a_warm_launch_does_not") else { return };
    raw::init();
    let context = raw::retain(0);
    let warm = raw::load(PTX).unwrap();
    let cold = raw::function(warm, "two").unwrap();
    type Step = fn(u64, u64) -> u32;
    let load: Step = |_, _| raw::load(PTX).err().unwrap_or(0);
    let launch: Step = |function, stream| raw::launch_kernel(function, 1, stream, &mut [0; 2]);
    for (name, call) in [("cuModuleLoadData", load), ("cuLaunchKernel", launch)] {
        let (streams, number) = wait_on_first(&double);
        std::thread::scope(|scope| {
            let calling = scope.spawn(|| {
                double.set_current(context);
                call(cold, streams[1])
            });
            let blocked = double.wait_until_blocked(name);
            assert!(blocked.waits_for.contains("to reach 1"), "{blocked:?}");
            double.signal(number, 1);
            assert_eq!(calling.join().unwrap(), 0, "{name}");
        });
    }
    let (streams, number) = wait_on_first(&double);
    assert_eq!(streams.map(|stream| launch(cold, stream)), [0; 2]);
    assert_eq!(streams.map(raw::query), [600, 0]);
    double.signal(number, 1);
    assert_eq!(double.findings(), Vec::new());
}

/// Launch arguments must be valid when the kernel runs, not when it is launched.
#[test]
fn a_launch_is_checked_when_it_runs() {
    let Some(double) = Double::in_child("modules::a_launch_is_checked_when_it_runs") else { return };
    raw::init();
    for (case, faults) in [("right", false), ("freed", true), ("past the end", true), ("a texture", false)] {
        raw::retain(0);
        let two = raw::function(raw::load(PTX).unwrap(), "two").unwrap();
        assert_eq!(raw::launch_kernel(two, 1, 0, &mut [7, u64::MAX]), 0, "numbers are numbers");
        let [buffer, freed] = [(); 2].map(|()| raw::alloc(4096).unwrap());
        let image = double.exporter(0).export_image(4096, true, &crate::common::finds::IMAGE);
        let array = raw::map_array(raw::import_memory(image, 4096, true).unwrap(), |_| {}).unwrap();
        let texture = raw::texture(raw::level(array, 0).unwrap(), false, |_| {}).unwrap();
        assert_eq!(raw::free(freed), 0);
        let (streams, number) = wait_on_first(&double);
        let second = match case {
            "freed" => freed,
            "past the end" => buffer + 4096,
            "a texture" => texture,
            _ => buffer + 4095,
        };
        assert_eq!(raw::launch_kernel(two, 1, streams[0], &mut [buffer, second]), 0, "{case}");
        assert_eq!(raw::query(streams[0]), 600);
        double.signal(number, 1);
        let findings = double.findings();
        assert_eq!(kinds(&findings), if faults { &["out-of-bounds"][..] } else { &[] }, "{case}: {findings:#?}");
        assert_eq!(raw::query(streams[0]), if faults { 700 } else { 0 }, "{case}");
        double.forget();
        raw::init();
    }
    // A texture that was destroyed.
    raw::retain(0);
    let two = raw::function(raw::load(PTX).unwrap(), "two").unwrap();
    let image = double.exporter(0).export_image(4096, true, &crate::common::finds::IMAGE);
    let array = raw::map_array(raw::import_memory(image, 4096, true).unwrap(), |_| {}).unwrap();
    let texture = raw::texture(raw::level(array, 0).unwrap(), false, |_| {}).unwrap();
    assert_eq!([raw::destroy_texture(texture), raw::launch_kernel(two, 1, 0, &mut [0, texture])], [0; 2]);
    assert_eq!((raw::query(0), kinds(&double.findings())), (700, vec!["out-of-bounds"]));
}

/// While the GPU is busy with other work, no call of a frame waits for it, and all work runs in
/// order afterward.
#[test]
fn no_call_of_a_frame_waits_for_the_gpu() {
    let Some(double) = Double::in_child("modules::no_call_of_a_frame_waits_for_the_gpu") else { return };
    let device = device();
    let [home, foreign_stream] = [(); 2].map(|()| device.new_stream().unwrap());
    let module = device.context().load_module(Ptx::from_src(PTX)).unwrap();
    let fill = module.load_function("fill").unwrap();
    let mut buffer = map(&import_memory(&double, &device), &home);
    let mut image = map_image(&import_image(&double, &device), &home);
    let exported = [(); 2].map(|()| double.export_semaphore(true));
    let numbers = [exported[0].number, exported[1].number];
    let [rendered, computed] = exported.map(|it| import_semaphore(&device, it, SemaphoreKind::Timeline));
    let shape = LaunchConfig::for_num_elems(LEN as u32);
    // SAFETY: the kernel does nothing.
    unsafe { home.launch_builder(&fill).arg(&mut buffer.view_mut()).arg(&7u32).arg(&LEN).launch(shape) }.unwrap();
    let record = |stream: &Arc<CudaStream>| stream.memset_zeros(&mut buffer.view_mut());
    // SAFETY: all of them outlive the graph.
    let mut graph = unsafe { StreamGraph::capture("frame", &home, &rendered, &computed, record) }.unwrap();

    double.hold_work();
    std::thread::scope(|scope| {
        let frame = scope.spawn(|| {
            // SAFETY: the signals follow below, the values increase, and everything lives until the
            // end.
            unsafe { wait_one(&home, &rendered, 1) }.unwrap();
            let texture = image.view().texture(&TextureInfo::default()).unwrap().as_raw();
            for stream in [&home, &foreign_stream] {
                // SAFETY: the kernel does nothing.
                unsafe {
                    stream.launch_builder(&fill).arg(&mut buffer.view_mut()).arg(&7u32).arg(&texture).launch(shape)
                }
                .unwrap();
                stream.memset_zeros(&mut buffer.view_mut()).unwrap();
            }
            image.view_mut().use_on(&foreign_stream).map(drop).unwrap();
            buffer.join_foreign_work().unwrap();
            image.join_foreign_work().unwrap();
            // SAFETY: as above.
            unsafe { signal_one(&home, &computed, 1) }.unwrap();
            // SAFETY: as above.
            unsafe { graph.launch(2, 2) }.unwrap();
            let mark = cuda_import::record_event(&home).unwrap();
            assert!(!mark.is_reached().unwrap() && !query(&home).unwrap());
            mark
        });
        double.wait_until_ended_or_blocked(&frame);
        assert_eq!(double.blocked_calls(), Vec::new());
        let mark = frame.join().unwrap();
        double.signal(numbers[0], 2);
        assert_eq!(double.value(numbers[1]), 0);
        double.release_work();
        assert!(mark.is_reached().unwrap() && query(&home).unwrap());
        assert_eq!(double.value(numbers[1]), 2);
    });
    drop((graph, fill, module, buffer, image, rendered, computed, home, foreign_stream, device));
    assert_clean(&double);
}

/// A typical frame: wait, a kernel on a buffer and a surface, signal; then the same as a graph.
#[test]
fn a_frame_with_a_kernel() {
    let Some(double) = Double::in_child("modules::a_frame_with_a_kernel") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    let module = device.context().load_module(Ptx::from_src(PTX)).unwrap();
    let fill = module.load_function("fill").unwrap();
    let mut buffer = map(&import_memory(&double, &device), &home);
    let mut image = map_image(&import_image(&double, &device), &home);
    let exported = [(); 2].map(|()| double.export_semaphore(true));
    let numbers = [exported[0].number, exported[1].number];
    let [rendered, computed] = exported.map(|it| import_semaphore(&device, it, SemaphoreKind::Timeline));
    let shape = LaunchConfig::for_num_elems(LEN as u32);
    // The first launch loads the kernel, so it happens while no stream waits. SAFETY: the kernel
    // does nothing.
    unsafe { home.launch_builder(&fill).arg(&mut buffer.view_mut()).arg(&7u32).arg(&LEN).launch(shape) }.unwrap();

    // SAFETY: the signal follows below, and the timelines live until then.
    unsafe { wait_one(&home, &rendered, 1) }.unwrap();
    let surface = image.view_mut().surface(0).unwrap().as_raw();
    // SAFETY: as above.
    unsafe { home.launch_builder(&fill).arg(&mut buffer.view_mut()).arg(&7u32).arg(&surface).launch(shape) }.unwrap();
    // SAFETY: nothing was signaled before.
    unsafe { signal_one(&home, &computed, 1) }.unwrap();
    assert_eq!((double.value(numbers[1]), query(&home).unwrap()), (0, false));
    double.signal(numbers[0], 1);
    assert_eq!((double.value(numbers[1]), query(&home).unwrap()), (1, true));

    let record = |stream: &Arc<CudaStream>| {
        // SAFETY: the kernel does nothing.
        unsafe { stream.launch_builder(&fill).arg(&mut buffer.view_mut()).arg(&7u32).arg(&LEN).launch(shape) }.map(drop)
    };
    // SAFETY: all of them outlive the graph.
    let mut graph = unsafe { StreamGraph::capture("frame", &home, &rendered, &computed, record) }.unwrap();
    // SAFETY: the signal follows below, and the values increase.
    unsafe { graph.launch(2, 2) }.unwrap();
    assert_eq!(double.value(numbers[1]), 1);
    double.signal(numbers[0], 2);
    assert_eq!(double.value(numbers[1]), 2);
    drop((graph, fill, module, buffer, image, rendered, computed, home, device));
    assert_clean(&double);
}
