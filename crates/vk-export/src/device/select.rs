//! Selection of a physical device.

use std::str::FromStr;

use ash::vk;
use uuid::Uuid;

use crate::device::physical::PhysicalDeviceInfo;
use crate::error::{Error, Result};

/// Selects the physical device to open.
///
/// Parses from user input: a number is an index, a UUID is a UUID (with or without the prefix
/// `GPU-`), and any other text is a part of the name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceSelector {
    /// The best suitable device: devices that can export come first, then discrete, integrated,
    /// virtual, CPU.
    #[default]
    Best,
    /// The suitable device whose UUID comes first in this list. If there is none, the
    /// [best](Self::Best) suitable device.
    Preferred(Vec<Uuid>),
    /// By position in `vkEnumeratePhysicalDevices`.
    Index(usize),
    /// By device UUID.
    Uuid(Uuid),
    /// By a part of the name, case-insensitive.
    Name(String),
}

impl FromStr for DeviceSelector {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uuid = text.strip_prefix("GPU-").unwrap_or(text);
        Ok(match (text.parse(), Uuid::parse_str(uuid)) {
            (Ok(index), _) => Self::Index(index),
            (_, Ok(uuid)) => Self::Uuid(uuid),
            _ => Self::Name(text.to_owned()),
        })
    }
}

impl std::fmt::Display for DeviceSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Best | Self::Preferred(_) => write!(f, "the best device"),
            Self::Index(index) => write!(f, "device {index}"),
            Self::Uuid(uuid) => write!(f, "the device with UUID {uuid}"),
            Self::Name(name) => write!(f, "a device named like \"{name}\""),
        }
    }
}

/// A device with the reasons against it, or the error of its queries.
pub(super) type Candidate = Result<(PhysicalDeviceInfo, Vec<String>)>;

impl DeviceSelector {
    /// Selects one of `devices`, which are in the order of `vkEnumeratePhysicalDevices`.
    pub(super) fn pick(&self, devices: Vec<Candidate>) -> Result<PhysicalDeviceInfo> {
        let found = if devices.is_empty() {
            "none".to_owned()
        } else {
            let lines: Vec<String> = devices
                .iter()
                .enumerate()
                .map(|(index, candidate)| match candidate {
                    Ok((device, against)) if against.is_empty() => format!("{index}: {}", device.name),
                    Ok((device, against)) => format!("{index}: {} (no: {})", device.name, against.join("; ")),
                    Err(error) => format!("{index}: (no: {error})"),
                })
                .collect();
            lines.join(", ")
        };
        devices
            .into_iter()
            .enumerate()
            .filter_map(|(index, candidate)| candidate.ok().map(|(device, against)| (index, device, against)))
            .filter(|(index, device, against)| against.is_empty() && self.matches(*index, device))
            .min_by_key(|(index, device, _)| {
                (self.sort_key(device.uuid, device.gaps().export.is_empty(), device.device_type), *index)
            })
            .map(|(_, device, _)| device)
            .ok_or_else(|| Error::NoDevice { requested: self.to_string(), available: found })
    }

    /// Returns a sort key: of two suitable devices, the one with the lower key is selected.
    fn sort_key(&self, uuid: Uuid, exports: bool, kind: vk::PhysicalDeviceType) -> impl Ord + use<> {
        let place = match self {
            Self::Preferred(uuids) => uuids.iter().position(|preferred| *preferred == uuid).unwrap_or(usize::MAX),
            _ => 0,
        };
        (place, !exports, rank(kind))
    }

    fn matches(&self, index: usize, device: &PhysicalDeviceInfo) -> bool {
        match self {
            Self::Best | Self::Preferred(_) => true,
            Self::Index(wanted) => *wanted == index,
            Self::Uuid(uuid) => *uuid == device.uuid,
            Self::Name(part) => device.name.to_lowercase().contains(&part.to_lowercase()),
        }
    }
}

fn rank(kind: vk::PhysicalDeviceType) -> u8 {
    match kind {
        vk::PhysicalDeviceType::DISCRETE_GPU => 0,
        vk::PhysicalDeviceType::INTEGRATED_GPU => 1,
        vk::PhysicalDeviceType::VIRTUAL_GPU => 2,
        vk::PhysicalDeviceType::CPU => 4,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_parse_from_user_input() {
        let parse = |text: &str| text.parse::<DeviceSelector>().unwrap_or_default();
        let uuid = Uuid::from_u128(0x6d65_7361_3232_2e33_2e36_0000_0000_0001);
        assert_eq!(parse("1"), DeviceSelector::Index(1));
        assert_eq!(parse(&uuid.to_string()), DeviceSelector::Uuid(uuid));
        assert_eq!(parse(&format!("GPU-{uuid}")), DeviceSelector::Uuid(uuid));
        assert_eq!(parse("RTX 4090"), DeviceSelector::Name("RTX 4090".into()));
    }

    #[test]
    fn best_device_can_export_and_preferred_devices_come_first() {
        use vk::PhysicalDeviceType as Kind;
        let [one, other] = [1, 2].map(Uuid::from_u128);
        let best = |uuid, exports, kind| DeviceSelector::Best.sort_key(uuid, exports, kind);
        assert!(best(one, true, Kind::CPU) < best(other, false, Kind::DISCRETE_GPU));
        assert!(best(one, true, Kind::DISCRETE_GPU) < best(other, true, Kind::INTEGRATED_GPU));
        let selector = DeviceSelector::Preferred(vec![other]);
        let place = |uuid, exports, kind| selector.sort_key(uuid, exports, kind);
        assert!(place(other, true, Kind::INTEGRATED_GPU) < place(one, true, Kind::DISCRETE_GPU));
        assert!(place(other, true, Kind::DISCRETE_GPU) < place(other, true, Kind::CPU));
    }

    /// CUDA and Vulkan may enumerate the same GPUs in different orders.
    #[test]
    fn preferred_devices_come_in_the_order_of_the_list() {
        let [first, second, other] = [1, 2, 3].map(Uuid::from_u128);
        let devices = || {
            let device = |uuid| {
                let mut device = PhysicalDeviceInfo::nameless();
                device.uuid = uuid;
                Ok((device, Vec::new()))
            };
            [other, second, first].map(device).into()
        };
        let pick = |uuids: &[Uuid]| DeviceSelector::Preferred(uuids.to_vec()).pick(devices()).map(|device| device.uuid);
        assert_eq!(pick(&[first, second]).unwrap(), first);
        assert_eq!(pick(&[second, first]).unwrap(), second);
        assert_eq!(pick(&[Uuid::from_u128(9), first]).unwrap(), first, "a UUID that no device has is passed over");
        assert_eq!(pick(&[]).unwrap(), other);
    }

    #[test]
    fn failing_device_query_does_not_hide_other_devices() {
        let failed = || {
            Err(Error::Vulkan {
                call: "vkEnumerateDeviceExtensionProperties",
                result: vk::Result::ERROR_OUT_OF_HOST_MEMORY,
                object: "physical device".into(),
                device: "broken".into(),
            })
        };
        let fine = || {
            let mut device = PhysicalDeviceInfo::nameless();
            device.name = "fine".into();
            Ok((device, Vec::new()))
        };
        let pick = |selector: DeviceSelector| selector.pick(vec![failed(), fine()]).map(|device| device.name);
        assert_eq!(pick(DeviceSelector::Best).unwrap(), "fine");
        assert_eq!(pick(DeviceSelector::Index(1)).unwrap(), "fine", "it keeps its index");
        let error = pick(DeviceSelector::Index(0)).unwrap_err().to_string();
        assert!(error.contains("0: (no: ") && error.contains("broken") && error.contains("1: fine"), "{error}");
    }

    #[test]
    fn machine_without_devices_is_reported() {
        let error = DeviceSelector::Best.pick(Vec::new()).map(|d| d.name).unwrap_err().to_string();
        assert!(error.contains("found: none") && error.contains("mesa-vulkan-drivers"), "{error}");
    }
}
