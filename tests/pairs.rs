//! Devices are paired by UUID only, whatever the device order of the two APIs. A single test, see
//! `Rig`.
#![allow(clippy::unwrap_used)]

use bridge::cuda_import::CudaDevice;
use bridge::vk_export::{DeviceSelector, ExportDevice, Validation, report};
use bridge::{DevicePair, Error, OpenInfo};
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
        let pair = DevicePair::open(&open(device.uuid)).unwrap();
        assert_eq!((pair.vulkan().uuid(), pair.cuda().uuid()), (device.uuid, device.uuid));
        assert_eq!(pair.cuda().ordinal(), device.ordinal);
        assert_silent(pair.vulkan());
    }
    let [first, second, ..] = both.as_slice() else {
        return skip_case(Need::Other, "crossed devices are refused", "there is one GPU, two are needed to cross them");
    };
    let crossed = DevicePair::new(&open(first.uuid), CudaDevice::by_uuid(second.uuid).unwrap()).unwrap_err();
    assert!(matches!(crossed, Error::DifferentDevices { .. }), "{crossed}");
    let text = crossed.to_string();
    for part in [&first.name, &second.name, &first.uuid.to_string(), &second.uuid.to_string()] {
        assert!(text.contains(part.as_str()), "{part}: {text}");
    }
}
