//! GPU identity on Windows.

/// Identity of a GPU on Windows: the LUID of its adapter, and its node bit if several GPUs are
/// linked to one adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdapterId {
    /// LUID of the adapter, which is valid until Windows restarts.
    pub luid: [u8; 8],
    /// Node mask with one bit set, or 0 if the driver does not report it.
    pub node_mask: u32,
}

impl AdapterId {
    /// Creates an ID from the LUID and node mask that the driver reports. Returns `None` if either
    /// is missing, as on systems other than Windows.
    pub fn new(luid: Option<[u8; 8]>, node_mask: Option<u32>) -> Option<Self> {
        Some(Self { luid: luid?, node_mask: node_mask? })
    }

    /// Returns `true` unless the LUIDs or the node masks show that the GPUs are different.
    pub(super) fn may_equal(&self, other: &Self) -> bool {
        let known = self.node_mask != 0 && other.node_mask != 0;
        self.luid == other.luid && (!known || self.node_mask & other.node_mask != 0)
    }
}

impl std::fmt::Display for AdapterId {
    /// Formats the LUID as Windows does: the high half, then the low half of a little-endian
    /// number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let luid = u64::from_le_bytes(self.luid);
        write!(f, "LUID {:#010x}_{:08x}, node mask {:#x}", luid >> 32, luid & 0xffff_ffff, self.node_mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn id(luid: u64, node_mask: u32) -> AdapterId {
        AdapterId { luid: luid.to_le_bytes(), node_mask }
    }

    #[test]
    fn equal_luid_and_node_mask_are_one_gpu() {
        assert!(id(7, 1).may_equal(&id(7, 1)));
        assert!(!id(7, 1).may_equal(&id(8, 1)), "another adapter");
        assert!(!id(7, 1).may_equal(&id(7, 2)), "another node of a linked adapter");
        assert!(id(7, 0).may_equal(&id(7, 2)) && id(7, 2).may_equal(&id(7, 0)), "a driver that tells no node");
        assert!(!id(7, 0).may_equal(&id(8, 0)));
        assert_eq!(AdapterId::new(Some([0; 8]), None), None);
        assert_eq!(AdapterId::new(None, Some(1)), None);
    }

    #[test]
    fn adapter_id_is_formatted_as_by_windows() {
        assert_eq!(id(0x1_0000_d1a2, 1).to_string(), "LUID 0x00000001_0000d1a2, node mask 0x1");
        let error = Error::DifferentAdapters {
            vulkan: "GPU A".into(),
            vulkan_adapter: id(1, 1),
            cuda: "GPU B".into(),
            cuda_adapter: id(2, 1),
        };
        let text = error.to_string();
        let named = ["\"GPU A\" (LUID 0x00000000_00000001", "\"GPU B\" (LUID 0x00000000_00000002"];
        assert!(named.iter().all(|name| text.contains(name)), "{text}");
    }
}
