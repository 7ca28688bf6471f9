//! The layouts that an image can be in while Vulkan uses it.

use ash::vk;

use crate::device::ExportDevice;
use crate::error::{Error, Result};

use vk::ImageLayout as Layout;
use vk::ImageUsageFlags as Usage;

impl ExportDevice {
    /// Rejects a layout into which barriers must not transition an image with this usage:
    /// `UNDEFINED` and `PREINITIALIZED`, layouts without one of the usages that they need, those of
    /// features and extensions that this crate does not know to be enabled, and unknown values.
    /// `GENERAL` is valid for every usage.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with the layout, the usage that it needs, and what to do.
    #[doc(alias = "VUID-VkImageMemoryBarrier2-newLayout-01198")]
    #[doc(alias = "VUID-VkImageMemoryBarrier2-oldLayout-01208")]
    pub fn check_layout(&self, layout: vk::ImageLayout, usage: vk::ImageUsageFlags, object: &str) -> Result<()> {
        match fault(layout, usage) {
            None => Ok(()),
            Some(reason) => Err(Error::invalid(object, reason)),
        }
    }
}

const fn union(first: Usage, second: Usage) -> Usage {
    Usage::from_raw(first.as_raw() | second.as_raw())
}

/// Layouts, each with the usages, one of which the image must have.
///
/// Source: the Valid Usage of `VkImageMemoryBarrier2`: oldLayout-01208 to -01213, -01658, -01659,
/// -04065 and the following. Intentionally missing: layouts of one aspect, because a shared image
/// changes its layout as a whole; layouts for presenting, because a shared image belongs to no
/// swapchain; and layouts of features that [`EnabledFeatures`](crate::EnabledFeatures) does not
/// include.
const REQUIRED_USAGES: &[(Layout, Usage)] = &[
    (Layout::COLOR_ATTACHMENT_OPTIMAL, Usage::COLOR_ATTACHMENT),
    (Layout::DEPTH_STENCIL_ATTACHMENT_OPTIMAL, Usage::DEPTH_STENCIL_ATTACHMENT),
    (Layout::DEPTH_STENCIL_READ_ONLY_OPTIMAL, Usage::DEPTH_STENCIL_ATTACHMENT),
    (Layout::DEPTH_READ_ONLY_STENCIL_ATTACHMENT_OPTIMAL, Usage::DEPTH_STENCIL_ATTACHMENT),
    (Layout::DEPTH_ATTACHMENT_STENCIL_READ_ONLY_OPTIMAL, Usage::DEPTH_STENCIL_ATTACHMENT),
    (Layout::SHADER_READ_ONLY_OPTIMAL, union(Usage::SAMPLED, Usage::INPUT_ATTACHMENT)),
    (Layout::TRANSFER_SRC_OPTIMAL, Usage::TRANSFER_SRC),
    (Layout::TRANSFER_DST_OPTIMAL, Usage::TRANSFER_DST),
    // These two need `synchronization2`, which is enabled on every device here.
    (Layout::READ_ONLY_OPTIMAL, union(Usage::SAMPLED, Usage::INPUT_ATTACHMENT)),
    (Layout::ATTACHMENT_OPTIMAL, union(Usage::COLOR_ATTACHMENT, Usage::DEPTH_STENCIL_ATTACHMENT)),
];

/// Returns the problem of the layout for an image of this usage.
fn fault(layout: Layout, usage: Usage) -> Option<String> {
    if usage.is_empty() {
        return Some("its usage is empty; say how Vulkan uses it".into());
    }
    match layout {
        Layout::GENERAL => return None,
        Layout::UNDEFINED | Layout::PREINITIALIZED => {
            return Some(format!(
                "its layout is {layout:?}, to which a barrier cannot transition an image; name the layout in which \
                 Vulkan uses it, or GENERAL, which fits every use"
            ));
        }
        _ => {}
    }
    let Some((_, needed)) = REQUIRED_USAGES.iter().find(|(known, _)| *known == layout) else {
        return Some(format!(
            "its layout {layout:?} is unknown, or not for shared images; use that of the usage {usage:?}, or GENERAL, which fits \
             every use"
        ));
    };
    let one_of = format!("{needed:?}").replace(" | ", " or ");
    (!usage.intersects(*needed)).then(|| {
        format!("its layout {layout:?} needs the usage {one_of}, but it has {usage:?}; add the usage, or use GENERAL, which fits every use")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::access::ImageAccess;

    #[test]
    fn all_predefined_accesses_have_a_layout_of_their_usage() {
        let consumers = ImageAccess::ALL;
        for first in consumers {
            for second in consumers {
                let both = first | second;
                assert_eq!(fault(both.layout, both.usage), None, "{both:?}");
            }
        }
    }

    #[test]
    fn layout_requires_one_of_its_usages() {
        for (layout, needed) in REQUIRED_USAGES {
            assert!(fault(*layout, !*needed).is_some_and(|text| text.contains(&format!("{layout:?}"))), "{layout:?}");
            for bit in (0..u32::BITS).map(|bit| Usage::from_raw(1 << bit)).filter(|bit| needed.contains(*bit)) {
                assert_eq!(fault(*layout, bit | Usage::STORAGE), None, "{layout:?}");
            }
        }
        let text = fault(Layout::GENERAL, Usage::empty()).unwrap();
        assert!(text.contains("its usage is empty"), "{text}");
        let text = fault(Layout::SHADER_READ_ONLY_OPTIMAL, Usage::TRANSFER_SRC).unwrap();
        assert!(text.contains("SHADER_READ_ONLY_OPTIMAL needs the usage SAMPLED or INPUT_ATTACHMENT"), "{text}");
        assert!(text.contains("it has TRANSFER_SRC; add the usage, or use GENERAL"), "{text}");
    }

    #[test]
    fn layouts_without_barriers_fit_no_usage() {
        let all = Usage::from_raw(u32::MAX);
        for layout in [
            Layout::UNDEFINED,
            Layout::PREINITIALIZED,
            Layout::PRESENT_SRC_KHR,
            Layout::SHARED_PRESENT_KHR,
            Layout::DEPTH_ATTACHMENT_OPTIMAL,
            Layout::STENCIL_READ_ONLY_OPTIMAL,
            Layout::VIDEO_DECODE_DST_KHR,
            Layout::FRAGMENT_DENSITY_MAP_OPTIMAL_EXT,
            Layout::from_raw(4711),
            Layout::from_raw(-1),
        ] {
            assert!(fault(layout, all).is_some_and(|text| text.contains("GENERAL")), "{layout:?}");
        }
    }
}
