//! Sizes past the limits of the device: the error has what was requested and the limit, and the
//! exchange continues with what it had.

use bridge::vk_export::Error as VulkanError;
use bridge::{Compute, Error, Exchange, ExchangeInfo, LiveObjects, SharedPool, SharedPoolInfo};
use bridge_tests::{Filler, Readback, Rig, SmallLimits};

use crate::images::{fill, images};
use crate::{LEN, SIZE, USES, Words, info, read, words};

const HEAP: &str = "the size of its memory heap";

/// Checks that the error is that of the first slot, of a size of at least `requested` bytes.
fn assert_too_large(error: Error, requested: u64, limit: (u64, &str), rig: &Rig) {
    let text = error.to_string();
    let Error::Vulkan(VulkanError::TooLarge { size, limit: found, limit_name, .. }) = error else { panic!("{text}") };
    // Memory for other GPUs consists of whole pages, and drivers align what they allocate.
    assert!((requested..requested + (4 << 20)).contains(&size), "{requested} bytes: {text}");
    assert_eq!((found, limit_name), limit);
    for part in ["\"growing[0]\"", &size.to_string(), &found.to_string(), rig.device().name()] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

pub(crate) fn buffers_do_not_grow_past_a_limit(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let before = LiveObjects::now();
    let mut exchange = words(compute, 2);
    let mut vulkan_first = Exchange::render_first(compute, &info(2), Words::new(LEN, USES)).unwrap();
    let alive = (LiveObjects::now(), rig.device().allocated_bytes());
    for slot in 0..2 {
        let mut turn = exchange.begin().unwrap();
        filler.fill(&mut turn, slot * 1000);
        assert!(read(&readback, turn.finish().unwrap()) == Filler::pattern(LEN, slot * 1000));
    }
    for limit in [(SmallLimits::HEAP, HEAP), (SmallLimits::BUFFER, "maxBufferSize")] {
        let len = (limit.0 / 4) as usize + 1;
        assert_too_large(exchange.grow(len).unwrap_err(), limit.0 + 4, limit, rig);
        assert_too_large(vulkan_first.grow(len).unwrap_err(), limit.0 + 4, limit, rig);
        assert_eq!((LiveObjects::now(), rig.device().allocated_bytes()), alive, "{limit:?}");
        assert_eq!((exchange.resources().len(), vulkan_first.resources().len()), (LEN, LEN));
    }
    // Both slots continue with their contents, and grow as far as they may.
    for len in [LEN, 2 * LEN] {
        exchange.grow(len).unwrap();
        for _ in 0..2 {
            let turn = exchange.begin().unwrap().finish().unwrap();
            let slot = turn.slot();
            assert!(read(&readback, turn) == Filler::pattern(LEN, slot as u32 * 1000), "{len} words, slot {slot}");
        }
    }
    vulkan_first.grow(2 * LEN).unwrap();
    vulkan_first.begin().unwrap().skip();
    exchange.close().unwrap();
    vulkan_first.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn images_are_not_resized_past_a_limit(rig: &Rig, compute: &Compute) {
    // More than `bytes`, with fewer texels along a side than any device's limit.
    let extent_of = |bytes: u64| [2048, (bytes / (4 * 2048)) as u32 + 1];
    let before = LiveObjects::now();
    let mut exchange = images(compute, 2);
    let alive = (LiveObjects::now(), rig.device().allocated_bytes());
    let largest = rig.device().physical().limits.max_image_dimension2_d;
    for limit in [(SmallLimits::HEAP, HEAP), (SmallLimits::IMAGE, "maxResourceSize")] {
        assert!(extent_of(limit.0)[1] <= largest, "a device with smaller images");
        let error = exchange.resize(extent_of(limit.0)).unwrap_err();
        assert_too_large(error, limit.0 + 4 * 2048, limit, rig);
        assert_eq!((LiveObjects::now(), rig.device().allocated_bytes()), alive, "{limit:?}");
        assert_eq!(exchange.resources().extent(), [16, 16, 1]);
    }
    let text = exchange.resize([largest + 1, 16]).unwrap_err().to_string();
    for part in ["\"growing[0]\"", &(largest + 1).to_string(), &largest.to_string(), "maxImageDimension2D"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!((LiveObjects::now(), rig.device().allocated_bytes()), alive);
    for side in [16, 32] {
        exchange.resize([side; 2]).unwrap();
        let mut turn = exchange.begin().unwrap();
        fill(turn.work(), side * side, side);
        assert!(turn.finish().unwrap().read_back(Rig::LONG).unwrap() == vec![side; (side * side) as usize]);
    }
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
}

/// Buffers that are too large for the blocks of a pool have their own memory, with the same limits.
pub(crate) fn pooled_buffers_do_not_grow_past_a_limit(rig: &Rig, compute: &Compute) {
    let (filler, readback) = (Filler::new(compute), Readback::new(rig.device(), SIZE));
    let before = LiveObjects::now();
    let pool = SharedPool::new(compute, &SharedPoolInfo { name: "spring", ..Default::default() }).unwrap();
    let info = ExchangeInfo { pool: Some(&pool), ..info(1) };
    let mut exchange = Exchange::new(compute, &info, Words::new(LEN, USES)).unwrap();
    let mut turn = exchange.begin().unwrap();
    filler.fill(&mut turn, 5);
    assert!(read(&readback, turn.finish().unwrap()) == Filler::pattern(LEN, 5));
    let alive = (LiveObjects::now(), rig.device().allocated_bytes());
    for limit in [(SmallLimits::HEAP, HEAP), (SmallLimits::BUFFER, "maxBufferSize")] {
        assert_too_large(exchange.grow((limit.0 / 4) as usize + 1).unwrap_err(), limit.0 + 4, limit, rig);
        assert_eq!((LiveObjects::now(), rig.device().allocated_bytes()), alive, "{limit:?}");
    }
    exchange.grow(2 * LEN).unwrap();
    assert!(read(&readback, exchange.begin().unwrap().finish().unwrap()) == Filler::pattern(LEN, 5));
    exchange.close().unwrap();
    drop(pool);
    assert_eq!(LiveObjects::now(), before);
}
