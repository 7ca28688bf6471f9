//! Exports of images: fresh handles, complete descriptors, and no handle that stays open.
#![cfg(target_os = "linux")]

use std::os::fd::AsRawFd;

use bridge::vk_export::{Image, ImageInfo, MemoryHandle};
use bridge_tests::{Rig, open_descriptors};

use crate::{info, make};

#[test]
fn every_export_is_fresh_and_nothing_is_left_open() {
    let rig = Rig::open();
    let Some(image) = make(&rig, "every_export_is_fresh", &info()) else { return };
    let (first, second) = (image.export().unwrap(), image.export().unwrap());
    let (MemoryHandle::Fd(one), MemoryHandle::Fd(other)) = (&first.handle, &second.handle) else {
        panic!("{first:?} and {second:?} are no descriptors")
    };
    assert_ne!(one.as_raw_fd(), other.as_raw_fd());
    assert_eq!(first.descriptor, second.descriptor);
    let memory = &first.descriptor.memory;
    assert_eq!((memory.offset, memory.size), (0, memory.allocation_size));
    assert_eq!((memory.device_uuid, memory.name.as_str()), (rig.device().uuid(), "image"));
    assert!(memory.dedicated, "what is exported is dedicated, whatever the driver prefers");
    drop((first, second, image));

    let round = || {
        let image = Image::new(rig.device(), &info()).unwrap();
        drop(image.export().unwrap());
        drop(image.export().unwrap());
        Image::new(rig.device(), &ImageInfo { mip_levels: 99, ..info() }).unwrap_err();
    };
    round();
    let before = open_descriptors();
    (0..200).for_each(|_| round());
    assert_eq!(before, open_descriptors(), "descriptors before and after 200 rounds");
}
