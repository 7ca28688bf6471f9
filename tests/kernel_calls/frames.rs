//! Kernels in the frames of an exchange, on the compute side that records them.

use bridge::ash::vk;
use bridge::vk_export::ExportDevice;
use bridge::{
    BufferAccess, BufferSpec, Compute, Error, Exchange, ExchangeInfo, Kernel, KernelArgs, KernelWork, LaunchConfig,
    LiveObjects, QueueKind,
};
use bridge_tests::Rig;

use super::TEXT;
use super::stand_in::{seen, with};

fn open(device: &ExportDevice) -> (Compute, Kernel) {
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    let kernel = compute.load("brook", TEXT).unwrap().kernel("scale").unwrap();
    (compute, kernel)
}

fn launch<A: KernelArgs>(
    work: &KernelWork<'_, BufferSpec<f32>>,
    kernel: &Kernel,
    config: &LaunchConfig,
    args: A,
) -> bridge::Result<()> {
    // SAFETY: the replaced function launches nothing.
    unsafe { work.launch(kernel, config, args) }
}

/// `other` is the same Vulkan device, adopted a second time: its kernels do not belong to the
/// first.
pub(crate) fn launches_are_recorded_or_refused(device: &ExportDevice, other: &ExportDevice) {
    let (compute, scale) = open(device);
    module_errors_name_the_module(&compute);
    let (other, foreign) = open(other);
    seen();

    let info = ExchangeInfo { name: "values", slots: 1, timeout: Rig::LONG, ..Default::default() };
    let mut exchange =
        Exchange::new(&compute, &info, BufferSpec::<f32>::new(100, BufferAccess::TRANSFER_READ)).unwrap();
    let mut turn = exchange.begin().unwrap();
    let work = turn.work().kernels().unwrap();
    let (values, fine) = (work.resources, LaunchConfig::new([1; 3], [64, 1, 1]));
    let refused = |result: bridge::Result<()>, needle: &str| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Launch { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("kernel \"scale\" cannot be launched: ") && text.contains(needle), "{needle}: {text}");
    };
    refused(launch(&work, &scale, &fine, (values, 100_u32)), "it takes 3 arguments, but 2 were given");
    let doubled = launch(&work, &scale, &fine, (values, 100_u32, 0.5));
    refused(doubled, "argument 2 has 8 bytes, but the kernel's parameter has 4");
    let block = LaunchConfig::new(fine.grid, [257, 1, 1]);
    refused(launch(&work, &scale, &block, (values, 100_u32, 0.5_f32)), "at most 256 threads");
    let grid = LaunchConfig::new([0, 1, 1], fine.block);
    refused(launch(&work, &scale, &grid, (values, 100_u32, 0.5_f32)), "nothing would run");
    let error = launch(&work, &foreign, &fine, (values, 100_u32, 0.5_f32)).unwrap_err().to_string();
    assert!(error.contains("\"scale\"") && error.contains("another compute side"), "{error}");
    assert_eq!(seen().launches, [], "what was refused was recorded");

    launch(&work, &scale, &fine, (values, 100_u32, 0.5_f32)).unwrap();
    let launches = seen().launches;
    assert_eq!(launches.len(), 1);
    let bytes = [&values.address().to_ne_bytes()[..], &100_u32.to_ne_bytes(), &0.5_f32.to_ne_bytes()].concat();
    assert_eq!((launches[0].grid, launches[0].block, launches[0].args.as_ref()), ([1; 3], [64, 1, 1], Some(&bytes)));
    launch(&work, &scale, &fine, (&values, 100_u32, 0.5_f32)).unwrap();
    assert_eq!(seen().launches[0].args, Some(bytes), "by reference");

    turn.finish().unwrap().read_back(Rig::LONG).unwrap();
    memory_is_kept_while_it_is_used(&compute, &scale, &mut exchange);
    exchange.close().unwrap();
    drop((compute, scale, other, foreign));
    seen();
}

/// Memory that is passed to a launch lives until the launch has run, and no longer; memory whose
/// contents were lost is refused.
fn memory_is_kept_while_it_is_used(compute: &Compute, scale: &Kernel, exchange: &mut Exchange<BufferSpec<f32>>) {
    let (fine, alive) = (LaunchConfig::new([1; 3], [64, 1, 1]), || LiveObjects::now().kernel_memories);
    let make = || compute.kernel_memory("state", &[1.0_f32; 64]).unwrap();
    let before = alive();
    let state = make();
    let mut turn = exchange.begin().unwrap();
    launch(&turn.work().kernels().unwrap(), scale, &fine, (&state, 64_u32, 0.5_f32)).unwrap();
    drop(state);
    assert_eq!(alive(), before + 1, "a launch that has not run keeps its memory");
    turn.finish().unwrap().read_back(Rig::LONG).unwrap();
    for _ in 0..100 {
        let mut turn = exchange.begin().unwrap();
        launch(&turn.work().kernels().unwrap(), scale, &fine, (&make(), 64_u32, 0.5_f32)).unwrap();
        assert!(alive() <= before + 2, "that of frames that are done is let go: {}", alive() - before);
        turn.finish().unwrap().read_back(Rig::LONG).unwrap();
    }

    let state = make();
    let mut turn = exchange.begin().unwrap();
    launch(&turn.work().kernels().unwrap(), scale, &fine, (&state, 64_u32, 0.5_f32)).unwrap();
    with(|seen| seen.end_result = Some(vk::Result::ERROR_OUT_OF_HOST_MEMORY));
    let error = turn.finish().unwrap_err().to_string();
    assert!(error.contains("vkEndCommandBuffer"), "{error}");
    let mut turn = exchange.begin().or_else(|_| exchange.begin()).unwrap();
    let work = turn.work().kernels().unwrap();
    seen();
    let error = launch(&work, scale, &fine, (&state, 64_u32, 0.5_f32)).unwrap_err();
    assert!(matches!(error, Error::Launch { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("kernel memory \"state\"") && text.contains("create it again"), "{text}");
    assert_eq!(seen().launches, [], "what has no contents was recorded");
    launch(&work, scale, &fine, (&make(), 64_u32, 0.5_f32)).unwrap();
    turn.finish().unwrap().read_back(Rig::LONG).unwrap();
    drop(state);
    exchange.begin().unwrap().skip().unwrap();
}

fn module_errors_name_the_module(compute: &Compute) {
    for (text, needle) in [(".version 8.0 .entry", "PTX, line 1"), ("\x7fELF", "nvcc -ptx")] {
        let error = compute.load("brook", text).unwrap_err();
        assert!(matches!(error, Error::Module { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("module \"brook\"") && text.contains(needle), "{needle}: {text}");
    }
    let module = compute.load("brook", TEXT).unwrap();
    let error = module.kernel("scales").unwrap_err().to_string();
    assert!(error.contains("\"scales\"") && error.contains("scale, idle, stops"), "{error}");
    let error = module.kernel("stops").unwrap_err().to_string();
    assert!(error.contains("kernel \"stops\" of module \"brook\"") && error.contains("trap"), "{error}");
}
