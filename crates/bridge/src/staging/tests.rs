use super::*;

const RANGE: vk::ImageSubresourceRange = vk::ImageSubresourceRange {
    aspect_mask: vk::ImageAspectFlags::COLOR,
    base_mip_level: 0,
    level_count: 3,
    base_array_layer: 0,
    layer_count: 2,
};

fn handover(accesses: ImageAccess) -> StagedHandover {
    StagedHandover { image: vk::Image::null(), range: RANGE, accesses }
}

const ALL: [ImageAccess; 6] = [
    ImageAccess::SAMPLED,
    ImageAccess::STORAGE_READ,
    ImageAccess::STORAGE_READ_WRITE,
    ImageAccess::COLOR_ATTACHMENT,
    ImageAccess::TRANSFER_READ,
    ImageAccess::TRANSFER_WRITE,
];

#[test]
fn only_resources_that_vulkan_writes_are_copied_back() {
    for accesses in ALL {
        let writes = [ImageAccess::STORAGE_READ_WRITE, ImageAccess::COLOR_ATTACHMENT, ImageAccess::TRANSFER_WRITE];
        let back = writes.contains(&accesses);
        let h = handover(accesses);
        assert_eq!(h.is_copied_back(), back, "{accesses:?}");
        assert_eq!(copy_usage(accesses).contains(vk::ImageUsageFlags::TRANSFER_SRC), back);
        assert!(copy_usage(accesses).contains(vk::ImageUsageFlags::TRANSFER_DST), "the copy in is always there");
        assert_eq!(copy_accesses(accesses).usage.contains(vk::BufferUsageFlags::TRANSFER_DST), back);
        assert!(copy_accesses(accesses).access.contains(vk::AccessFlags2::TRANSFER_READ));
        assert_eq!(h.transition_out().is_some(), back);
        assert_eq!(releases_rows(Counterpart::Host, accesses), back, "the host only writes what was read");
        assert!(releases_rows(Counterpart::External, accesses), "what was acquired is released");
    }
    assert!(handover(ImageAccess::SAMPLED | ImageAccess::TRANSFER_WRITE).is_copied_back());
}

/// Each barrier of the image starts with the layout and stages that the previous barrier ended
/// with, and the last barrier of a frame leads to the first barrier of the next frame.
#[test]
fn barriers_of_a_frame_form_a_cycle() {
    for accesses in ALL {
        let h = handover(accesses);
        let frame = [Some(h.acquire_image()), Some(h.transition_in()), h.transition_out(), Some(h.release_image())];
        let frame: Vec<_> = std::iter::once(h.initial()).chain(frame.into_iter().flatten()).collect();
        let next = h.acquire_image();
        for (before, after) in frame.iter().zip(frame.iter().skip(1).chain([&next])) {
            assert_eq!(before.new_layout, after.old_layout, "{accesses:?}");
            assert!(before.dst_stage_mask.intersects(after.src_stage_mask), "{before:?} {after:?}");
            assert_eq!(before.src_queue_family_index, before.dst_queue_family_index, "no owner changes");
            assert_eq!(before.subresource_range.level_count, 3);
        }
        // The copies have their own layouts, and the copy in is visible to Vulkan's accesses.
        assert_eq!(h.acquire_image().new_layout, vk::ImageLayout::TRANSFER_DST_OPTIMAL);
        assert_eq!(h.transition_in().new_layout, accesses.layout);
        assert_eq!(h.transition_in().src_access_mask, vk::AccessFlags2::TRANSFER_WRITE);
        assert_eq!(h.transition_in().dst_access_mask, accesses.access);
        if let Some(out) = h.transition_out() {
            assert_eq!(out.new_layout, vk::ImageLayout::TRANSFER_SRC_OPTIMAL);
            assert_eq!(
                (out.src_access_mask, out.dst_access_mask),
                (accesses.writes(), vk::AccessFlags2::TRANSFER_READ)
            );
        }
    }
}

fn layout(extents: &[[u32; 3]], layers: u32, texel: u64, optimal: u64) -> Option<Layout> {
    let shape = Shape { levels: u32::try_from(extents.len()).unwrap(), layers };
    let extent = |level| extents[usize::try_from(level).unwrap()];
    Layout::of(&shape, extent, vk::ImageAspectFlags::COLOR, texel, optimal)
}

#[test]
fn rows_are_tight_and_levels_are_aligned() {
    let made = layout(&[[5, 3, 1], [2, 1, 1], [1, 1, 1]], 2, 4, 1).unwrap();
    // Two layers of 5 x 3 texels of 4 bytes are 120 bytes. The 16 bytes of the next level start at
    // a multiple of 16.
    let offsets: Vec<_> = made.regions.iter().map(|region| region.buffer_offset).collect();
    assert_eq!((offsets, made.size), (vec![0, 128, 144], 152));
    assert!(made.regions.iter().all(|region| region.image_subresource.layer_count == 2));
    let at: Vec<_> = made.planes.iter().map(|plane| (plane.offset, plane.row_pitch, plane.width)).collect();
    assert_eq!(at, [(0, 20, 5), (128, 8, 2), (144, 4, 1), (60, 20, 5), (136, 8, 2), (148, 4, 1)]);
    assert!(made.planes.iter().all(|plane| plane.fits::<u32>(152)));
    let deep = layout(&[[3, 2, 4], [1, 1, 2]], 1, 8, 256).unwrap();
    assert_eq!((deep.planes[0].depth_pitch, deep.planes[1].offset, deep.size), (48, 256, 272));
}

#[test]
fn unaddressable_layouts_are_refused() {
    assert!(layout(&[[u32::MAX, u32::MAX, u32::MAX]], 1, 16, 1).is_none());
    assert!(layout(&[[u32::MAX, u32::MAX, 1]], 1, 1, 1).is_none(), "more than a slice may have");
    assert!(layout(&[[1, 1, 1]], 3, 16, u64::MAX).is_some(), "a driver may wish for any alignment");
}
