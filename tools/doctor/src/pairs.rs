//! Matching of Vulkan and CUDA devices, and the reasons why a device has no match.

use serde::Serialize;

use super::vulkan::{NVIDIA, is_zero};
use super::{Cuda, CudaDevice, System, Vulkan, VulkanDevice};

/// A Vulkan and a CUDA device with the same UUID, which are the same GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The index of the Vulkan device.
    pub vulkan: usize,
    /// The ordinal of the CUDA device.
    pub cuda: usize,
    /// Their UUID.
    pub uuid: String,
}

/// A device that only one side lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unpaired {
    /// The side that lists the device.
    pub side: Side,
    /// The index or ordinal on that side.
    pub index: usize,
    /// The name of the device.
    pub name: String,
    /// Why the other side does not list it.
    pub reason: String,
}

/// A side of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Vulkan.
    Vulkan,
    /// CUDA.
    Cuda,
}

/// Matches the two lists by UUID.
pub(super) fn find(system: &System, vulkan: &Vulkan, cuda: &Cuda) -> (Vec<Pair>, Vec<Unpaired>) {
    let mut pairs = Vec::new();
    let mut unpaired = Vec::new();
    for device in &vulkan.devices {
        match cuda.devices.iter().find(|other| other.uuid == device.uuid && !device.is_anonymous()) {
            Some(other) => pairs.push(Pair { vulkan: device.index, cuda: other.ordinal, uuid: device.uuid.clone() }),
            None => unpaired.push(Unpaired {
                side: Side::Vulkan,
                index: device.index,
                name: device.name.clone(),
                reason: not_in_cuda(device, system, cuda),
            }),
        }
    }
    for device in &cuda.devices {
        if !pairs.iter().any(|pair| pair.uuid == device.uuid) {
            unpaired.push(Unpaired {
                side: Side::Cuda,
                index: device.ordinal,
                name: device.name.clone(),
                reason: not_in_vulkan(device, vulkan),
            });
        }
    }
    (pairs, unpaired)
}

fn not_in_cuda(device: &VulkanDevice, system: &System, cuda: &Cuda) -> String {
    if device.is_software() {
        return "a software device: CUDA does not support it".to_owned();
    }
    if device.vendor != NVIDIA {
        return format!("a device of {}: CUDA runs on NVIDIA's only", device.vendor);
    }
    if !device.is_nvidias_own() {
        return format!("its Vulkan driver is not NVIDIA's own ({}): CUDA shares with that one only", device.driver);
    }
    if cuda.problem.is_some() {
        return "there is no CUDA to match it with, see above".to_owned();
    }
    if device.is_anonymous() {
        return "its UUID is all zeros: something hides which GPU it is".to_owned();
    }
    if cuda.devices.iter().any(|other| is_zero(&other.uuid)) {
        return "CUDA's UUIDs are all zeros: something hides which GPU is which".to_owned();
    }
    if cuda.devices.iter().any(|other| other.mig) {
        return "MIG is on: CUDA sees instances with UUIDs of their own".to_owned();
    }
    if let Some(value) = system.variable("CUDA_VISIBLE_DEVICES") {
        return format!("CUDA_VISIBLE_DEVICES={value} hides it from CUDA");
    }
    "no CUDA device has its UUID; perhaps the container was given another GPU for compute".to_owned()
}

fn not_in_vulkan(device: &CudaDevice, vulkan: &Vulkan) -> String {
    if device.mig {
        return "an instance of a GPU that MIG has split: Vulkan does not see it under this UUID".to_owned();
    }
    if is_zero(&device.uuid) {
        return "its UUID is all zeros: something hides which GPU it is".to_owned();
    }
    if vulkan.loader.is_none() {
        return "there is no Vulkan loader".to_owned();
    }
    if !vulkan.devices.iter().any(VulkanDevice::is_nvidias_own) {
        return "Vulkan lists no device of NVIDIA's own driver".to_owned();
    }
    "Vulkan does not list it; perhaps the container was given another GPU for graphics, or a VK_ variable hides it"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CudaProblem, CudaProblemKind};

    fn vulkan(devices: &[(&str, &str, &str)]) -> Vulkan {
        let device = |(index, (uuid, vendor, driver)): (usize, &(&str, &str, &str))| VulkanDevice {
            index,
            uuid: (*uuid).to_owned(),
            vendor: (*vendor).to_owned(),
            driver: (*driver).to_owned(),
            ..VulkanDevice::default()
        };
        let devices = devices.iter().enumerate().map(device).collect();
        Vulkan { loader: Some("1.4.0".to_owned()), devices, ..Vulkan::default() }
    }

    fn cuda(uuids: &[&str]) -> Cuda {
        let device =
            |(ordinal, uuid): (usize, &&str)| CudaDevice { ordinal, uuid: (*uuid).to_owned(), ..CudaDevice::default() };
        Cuda { devices: uuids.iter().enumerate().map(device).collect(), ..Cuda::default() }
    }

    #[test]
    fn devices_pair_by_uuid_and_not_by_order() {
        let vulkan = vulkan(&[("a", NVIDIA, "NVIDIA 580"), ("i", "Intel", "Intel Mesa"), ("b", NVIDIA, "NVIDIA 580")]);
        let (pairs, unpaired) = find(&System::default(), &vulkan, &cuda(&["b", "a"]));
        let found: Vec<_> = pairs.iter().map(|pair| (pair.vulkan, pair.cuda)).collect();
        assert_eq!(found, [(0, 1), (2, 0)]);
        assert_eq!(unpaired.len(), 1);
        assert!(unpaired[0].reason.contains("Intel"), "{unpaired:?}");
    }

    #[test]
    fn each_reason_for_being_unpaired_is_reported() {
        let reason = |system: &System, vulkan: &Vulkan, cuda: &Cuda| find(system, vulkan, cuda).1[0].reason.clone();
        let own = vulkan(&[("a", NVIDIA, "NVIDIA 580")]);
        let mut system = System::default();
        assert!(reason(&system, &own, &cuda(&["b"])).contains("no CUDA device has its UUID"));
        let mut split = cuda(&["b"]);
        split.devices[0].mig = true;
        assert!(reason(&system, &own, &split).contains("MIG is on"));
        assert!(find(&system, &own, &split).1[1].reason.contains("MIG has split"));
        system.variables.insert("CUDA_VISIBLE_DEVICES".to_owned(), "1".to_owned());
        assert!(reason(&system, &own, &split).contains("MIG is on"));
        assert!(reason(&system, &own, &cuda(&["b"])).contains("CUDA_VISIBLE_DEVICES=1"));
        let problem = CudaProblem { kind: CudaProblemKind::NoDriver, code: None, text: String::new() };
        let none = Cuda { problem: Some(problem), ..Cuda::default() };
        assert!(reason(&system, &own, &none).contains("no CUDA to match"));
        let nvk = vulkan(&[("a", NVIDIA, "NVK Mesa 25.0")]);
        assert!(reason(&system, &nvk, &cuda(&["b"])).contains("not NVIDIA's own"));
        assert!(reason(&system, &vulkan(&[]), &cuda(&["b"])).contains("lists no device"));
        assert!(reason(&system, &Vulkan::default(), &cuda(&["b"])).contains("no Vulkan loader"));
    }
}
