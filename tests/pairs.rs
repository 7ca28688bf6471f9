//! Devices are paired by UUID only, whatever the device order of the two APIs. A single test, see
//! `Rig`.
#![allow(clippy::unwrap_used)]

use bridge::cuda_import::CudaDevice;
use bridge::vk_export::{DeviceSelector, ExportDevice, Validation, report};
use bridge::{Backend, Compute, Error, OpenInfo};
use bridge_tests::{Need, assert_silent, cuda_devices, skip_case};

#[test]
fn devices_pair_by_uuid() {
    let Some(cuda) = cuda_devices() else { return };
    let vulkan = report().unwrap().devices;
    let both: Vec<_> = cuda.iter().filter(|c| vulkan.iter().any(|v| v.info.uuid == c.uuid)).collect();
    assert!(!both.is_empty(), "no device is known to both: {cuda:?}");
    let open = |uuid| {
        let (device, validation) = (DeviceSelector::Uuid(uuid), Validation::IfPresent);
        ExportDevice::open(&OpenInfo { device, validation, ..OpenInfo::default() }).unwrap()
    };
    for device in &both {
        let compute = Compute::new(&open(device.uuid), Backend::Cuda).unwrap();
        let cuda = compute.cuda().unwrap().device();
        assert_eq!((compute.device().uuid(), cuda.uuid()), (device.uuid, device.uuid));
        assert_eq!(cuda.ordinal(), device.ordinal);
        assert_silent(compute.device());
    }
    let [first, second, ..] = both.as_slice() else {
        return skip_case(Need::Other, "crossed devices are refused", "there is one GPU, two are needed to cross them");
    };
    let stream = CudaDevice::by_uuid(second.uuid).unwrap().new_stream().unwrap();
    let crossed = Compute::on_stream(&open(first.uuid), stream).unwrap_err();
    assert!(matches!(crossed, Error::DifferentDevices { .. }), "{crossed}");
    let text = crossed.to_string();
    for part in [&first.name, &second.name, &first.uuid.to_string(), &second.uuid.to_string()] {
        assert!(text.contains(part.as_str()), "{part}: {text}");
    }
}
