//! What the inline backend refuses, and how.

use bridge::{Backend, Compute, Exchange, ExchangeInfo, ExportDevice, OpenInfo, QueueKind};
use bridge_tests::{PROBE, Rig};

use super::words;

#[test]
fn a_device_without_buffer_addresses_is_refused_with_the_remedy() {
    let _turn = Rig::open();
    let device = ExportDevice::open(&OpenInfo { application_name: "tests", ..OpenInfo::default() }).unwrap();
    // A device that is destroyed while a test's thread ends would deadlock in NVIDIA's driver.
    std::mem::forget(device.clone());
    let error = Compute::inline(&device, QueueKind::Graphics).unwrap_err().to_string();
    assert!(error.contains(device.name()) && error.contains("OpenInfo::cuda_kernels"), "{error}");
    let error = Compute::new(&device, Backend::Inline).unwrap_err().to_string();
    assert!(error.contains("VK_NVX_binary_import") && error.contains("CUDA kernels in command buffers"), "{error}");
}

#[test]
fn kernels_are_refused_where_no_queue_runs_them() {
    let rig = Rig::open();
    let device = rig.device();
    if device.has_cuda_kernels() {
        return;
    }
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    assert_eq!(compute.backend(), Backend::Inline);
    let error = compute.load("probe", PROBE).unwrap_err().to_string();
    assert!(error.contains("VK_NVX_binary_import") && error.contains("stream"), "{error}");
}

#[test]
fn the_cpu_backend_has_no_kernels() {
    let rig = Rig::open();
    let device = rig.device();
    let compute = Compute::new(device, Backend::Host).unwrap();
    let error = compute.load("probe", PROBE).unwrap_err().to_string();
    assert!(error.contains("closures"), "{error}");
    let error = compute.kernel_memory("state", &[1_u32]).unwrap_err().to_string();
    assert!(error.contains("closures"), "{error}");
    let mut exchange = Exchange::new(&compute, &ExchangeInfo::default(), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    let error = turn.work().kernels().unwrap_err().to_string();
    assert!(error.contains("Work::Host"), "{error}");
    turn.skip().unwrap();
}

#[test]
fn an_exchange_on_another_queue_is_refused() {
    let rig = Rig::open();
    let device = rig.device();
    let compute = Compute::inline(device, QueueKind::Graphics).unwrap();
    for queue in [QueueKind::Compute, QueueKind::Transfer] {
        let info = ExchangeInfo { name: "elsewhere", queue, ..Default::default() };
        let error = Exchange::new(&compute, &info, words()).unwrap_err().to_string();
        assert!(error.contains("elsewhere") && error.contains(&queue.to_string()), "{error}");
    }
    let error = Compute::inline(device, QueueKind::Transfer).unwrap_err().to_string();
    assert!(error.contains("transfer"), "{error}");
}
