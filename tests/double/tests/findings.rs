//! Each kind of finding can be found: the driver's own functions, called in wrong ways. So a ledger that finds nothing
//! means something.
#![allow(clippy::unwrap_used)]
#![cfg(any(target_os = "linux", windows))]

mod common;

use common::{kinds, os, raw};
use driver_double::{Double, ImageShape};

const SIZE: u64 = 4096;

/// Runs `wrong` with a context current, and expects `expected` to be found and nothing else, before what is left is
/// counted as leaked.
fn finds(test: &str, expected: &[&str], wrong: impl FnOnce(&Double)) {
    let Some(double) = Double::in_child(test) else { return };
    raw::init();
    raw::retain(0);
    wrong(&double);
    let findings = double.findings();
    assert_eq!(kinds(&findings), expected, "{findings:#?}");
}

fn memory(double: &Double) -> u64 {
    raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap()
}

/// What `raw::map_array` maps unless it is told otherwise.
const IMAGE: ImageShape = ImageShape {
    offset: 0,
    dimensions: 2,
    extent: [8, 4, 1],
    layers: 1,
    cube: false,
    levels: 1,
    format: 0x01,
    channels: 1,
    color_attachment: false,
};

fn image(double: &Double, shape: &ImageShape) -> u64 {
    raw::import_memory(double.export_image(SIZE, true, shape), SIZE, true).unwrap()
}

#[test]
fn right_use_finds_nothing() {
    finds("right_use_finds_nothing", &[], |double| {
        let memory = memory(double);
        let timeline = double.export_semaphore(true);
        let number = timeline.number;
        let timeline = raw::import_semaphore(timeline, true).unwrap();
        let address = raw::map(memory, 16, 64).unwrap();
        double.submit_signal(number, 1);
        assert_eq!(raw::wait(timeline, 1, 0), 0);
        assert_eq!(raw::fill(address, 64), 0);
        assert_eq!(raw::signal(timeline, 2, 0), 0);
        assert_eq!(double.value(number), 0, "the signal comes after the wait");
        double.complete_signal(number, 1);
        assert_eq!(double.value(number), 2);
        assert_eq!(raw::synchronize(), 0);
        assert_eq!([raw::free(address), raw::destroy_memory(memory), raw::destroy_semaphore(timeline)], [0; 3]);
        assert_eq!(raw::release(0), 0);
        common::assert_clean(double);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_descriptor_closed_twice() {
    finds("a_descriptor_closed_twice", &["double-close", "double-close"], |double| {
        let exported = double.export_memory(SIZE, false);
        let number = os::number(&exported);
        let memory = raw::import_memory(exported, SIZE, false).unwrap();
        os::close(number);
        assert_eq!(raw::destroy_memory(memory), 0);
        // A failed import of memory has closed it already.
        let refused = double.export_semaphore(false);
        let number = os::number(&refused);
        double.fail_nth(1, 999, false);
        assert_eq!(raw::import_memory(refused, SIZE, false), Err(999));
        os::close(number);
    });
}

/// What is shared by its number is the exporting side's.
#[test]
#[cfg(windows)]
fn a_kmt_handle_closed() {
    finds("a_kmt_handle_closed", &["double-close"], |double| {
        let [kept, closed] = [(); 2].map(|()| std::ptr::without_provenance_mut(share(double).cast_unsigned()));
        for kmt in [kept, closed] {
            let kind = Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT;
            raw::import_memory_as(kind, os::memory_handle(kmt), SIZE, false).unwrap();
        }
        os::close(closed);
    });
}

#[cfg(windows)]
use cuda_import::cudarc::driver::sys::CUexternalMemoryHandleType as Type;

#[cfg(windows)]
fn share(double: &Double) -> isize {
    double.share_memory(SIZE, false).kmt
}

/// A number in place of a handle, and a handle in place of a number.
#[test]
#[cfg(windows)]
fn a_handle_of_another_sharing() {
    finds("a_handle_of_another_sharing", &["wrong-object"; 2], |double| {
        let kmt = std::ptr::without_provenance_mut(share(double).cast_unsigned());
        assert_eq!(raw::import_memory_as(os::MEMORY, os::memory_handle(kmt), SIZE, false), Err(999));
        let exported = double.export_memory(SIZE, false);
        let kind = Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT;
        assert_eq!(raw::import_memory_as(kind, os::memory_handle(os::number(&exported)), SIZE, false), Err(999));
    });
}

#[test]
fn descriptors_and_objects_leaked() {
    finds("descriptors_and_objects_leaked", &[], |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        let semaphore = double.export_semaphore(true);
        std::mem::forget(double.export_memory(SIZE, false));
        let duplicate = semaphore.handle.try_clone().unwrap();
        raw::import_semaphore(semaphore, true).unwrap();
        std::mem::forget(duplicate);
        let findings = double.findings_at_exit();
        let objects = ["object-leak"; 4].iter();
        assert_eq!(kinds(&findings), objects.chain(&["descriptor-leak"; 2]).copied().collect::<Vec<_>>());
        for (finding, kind) in findings.iter().zip(["mapping", "memory", "semaphore", "context"]) {
            assert!(finding.text.contains(kind), "{finding:?}");
        }
        double.forget();
        assert_eq!(double.live().len(), 2, "descriptors of others stay theirs");
    });
}

#[test]
fn use_after_destroy_and_of_what_never_was() {
    let expected = ["use-after-destroy", "use-after-destroy", "use-after-destroy", "unknown-handle", "out-of-bounds"];
    finds("use_after_destroy_and_of_what_never_was", &expected, |double| {
        let memory = memory(double);
        let address = raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::fill(address, 8), 0);
        assert_eq!([raw::free(address), raw::free(address)], [0, 400]);
        assert_eq!([raw::destroy_memory(memory), raw::destroy_memory(memory)], [0, 400]);
        assert_eq!(raw::map(memory, 0, 8), Err(400));
        assert_eq!(raw::destroy_semaphore(memory), 400);
        assert_eq!(raw::fill(address, 8), 700);
    });
}

#[test]
fn memory_destroyed_while_mapped() {
    finds("memory_destroyed_while_mapped", &["mapped-at-destroy"], |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::destroy_memory(memory), 0);
    });
}

#[test]
fn a_semaphore_destroyed_while_pending() {
    finds("a_semaphore_destroyed_while_pending", &["pending-at-destroy", "pending-at-destroy"], |double| {
        let waited = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
        let signalled = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
        let stream = raw::create_stream().unwrap();
        assert_eq!(raw::wait(waited, 1, stream), 0);
        assert_eq!(raw::signal(signalled, 1, stream), 0);
        assert_eq!([raw::destroy_semaphore(waited), raw::destroy_semaphore(signalled)], [0; 2]);
    });
}

#[test]
fn a_binary_wait_without_its_signal() {
    let expected = ["wait-before-signal", "wait-before-signal", "signal-over-signal"];
    finds("a_binary_wait_without_its_signal", &expected, |double| {
        let exported = double.export_semaphore(false);
        let number = exported.number;
        let semaphore = raw::import_semaphore(exported, false).unwrap();
        let (one, other) = (raw::create_stream().unwrap(), raw::create_stream().unwrap());
        raw::wait(semaphore, 0, one);
        // Of the waits for one signal, one is too many.
        let exported = double.export_semaphore(false);
        let second = exported.number;
        let semaphore = raw::import_semaphore(exported, false).unwrap();
        double.signal(second, 0);
        assert_eq!([raw::wait(semaphore, 0, one), raw::wait(semaphore, 0, other)], [0; 2]);
        double.submit_signal(number, 0);
        double.submit_signal(number, 0);
    });
}

#[test]
fn a_timeline_that_does_not_rise() {
    finds("a_timeline_that_does_not_rise", &["value-not-rising", "value-not-rising"], |double| {
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = raw::import_semaphore(exported, true).unwrap();
        raw::signal(timeline, 5, 0);
        raw::signal(timeline, 5, 0);
        double.signal(number, 4);
    });
}

#[test]
fn a_wrong_size_and_a_wrong_flag() {
    let expected = ["size-differs", "dedicated-differs", "dedicated-differs"];
    finds("a_wrong_size_and_a_wrong_flag", &expected, |double| {
        let import = |dedicated, size, flag| raw::import_memory(double.export_memory(SIZE, dedicated), size, flag);
        // As the driver: not a word.
        import(false, SIZE * 16, false).unwrap();
        import(false, SIZE, true).unwrap();
        import(true, SIZE, false).unwrap();
        import(true, SIZE, true).unwrap();
    });
}

#[test]
fn a_descriptor_of_something_else() {
    finds("a_descriptor_of_something_else", &["wrong-object"; 4], |double| {
        let semaphore = double.export_semaphore(true);
        assert_eq!(raw::import_memory(semaphore, SIZE, false), Err(999));
        assert_eq!(raw::import_semaphore(double.export_memory(SIZE, false), true), Err(999));
        assert_eq!(raw::import_semaphore(double.export_semaphore(true), false), Err(999));
        assert_eq!(raw::import_semaphore(double.export_semaphore(false), true), Err(999));
    });
}

#[test]
fn no_context_and_a_wrong_one() {
    let expected = ["no-context", "wrong-context", "wrong-context", "use-after-destroy"];
    finds("no_context_and_a_wrong_one", &expected, |double| {
        let memory = memory(double);
        let address = raw::map(memory, 0, 8).unwrap();
        double.set_current(0);
        assert_eq!(raw::free(address), 201);
        raw::retain(1);
        assert_eq!(raw::free(address), 201);
        assert_eq!(raw::destroy_memory(memory), 201);
        raw::release(1);
        assert_eq!(raw::free(address), 400, "the current context is gone");
    });
}

#[test]
fn a_context_released_too_early() {
    let expected = ["outlives-context", "outlives-context", "use-after-destroy"];
    finds("a_context_released_too_early", &expected, |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::release(0), 0);
        assert_eq!(raw::release(0), 201);
    });
}

#[test]
fn a_mapping_freed_in_stream_order() {
    finds("a_mapping_freed_in_stream_order", &["async-free-of-mapping"], |double| {
        let address = raw::map(memory(double), 0, 8).unwrap();
        assert_eq!(raw::free_async(address), 1);
    });
}

#[test]
fn a_host_that_waits_for_ever() {
    finds("a_host_that_waits_for_ever", &["hang"], |double| {
        let timeline = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
        assert_eq!(raw::wait(timeline, 1, 0), 0);
        assert_eq!(raw::synchronize(), 999);
    });
}

#[test]
fn the_nth_call_fails() {
    finds("the_nth_call_fails", &[], |double| {
        double.fail_nth(2, 700, false);
        assert_eq!([raw::synchronize(), raw::synchronize(), raw::synchronize()], [0, 700, 0]);
        assert_eq!(double.disarm().unwrap().name, "cuCtxSynchronize");
        double.fail_nth(2, 700, true);
        assert_eq!([raw::synchronize(), raw::synchronize(), raw::release(0)], [0, 700, 700]);
        double.disarm();
        double.fail_nth(2, 700, true);
        assert_eq!(raw::synchronize(), 0);
        assert_eq!(double.disarm(), None);
        assert_eq!(raw::synchronize(), 0);
    });
}

#[test]
fn right_use_of_an_image_finds_nothing() {
    finds("right_use_of_an_image_finds_nothing", &[], |double| {
        let memory = image(double, &IMAGE);
        let array = raw::map_array(memory, |desc| desc.arrayDesc.Flags = 0x02).unwrap();
        let level = raw::level(array, 0).unwrap();
        let texture = raw::texture(array, true, |desc| desc.flags |= 0x02).unwrap();
        let surface = raw::surface(level).unwrap();
        let buffers = raw::import_memory(double.export_memory(SIZE, false), SIZE, false).unwrap();
        let address = raw::map(buffers, 0, 32).unwrap();
        assert_eq!([raw::fill(address, 32), raw::copy_to_level(level, address, 4, 0)], [0; 2]);
        assert_eq!([raw::destroy_surface(surface), raw::destroy_texture(texture), raw::destroy_array(array)], [0; 3]);
        assert_eq!([raw::free(address), raw::destroy_memory(buffers), raw::destroy_memory(memory)], [0; 3]);
        assert_eq!(raw::release(0), 0);
        common::assert_clean(double);
    });
}

#[test]
fn an_image_mapped_as_another_one() {
    finds("an_image_mapped_as_another_one", &["image-differs"; 10], |double| {
        let large = ImageShape { extent: [16, 8, 1], levels: 2, ..IMAGE };
        for (shape, what) in [
            (ImageShape { offset: 64, ..IMAGE }, "another offset"),
            (ImageShape { extent: [7, 4, 1], ..IMAGE }, "another width"),
            (ImageShape { dimensions: 1, extent: [8, 1, 1], ..IMAGE }, "another height"),
            (ImageShape { layers: 2, ..IMAGE }, "another depth or layers"),
            (ImageShape { dimensions: 3, extent: [8, 4, 2], ..IMAGE }, "another depth or layers"),
            (ImageShape { levels: 2, ..IMAGE }, "another levels"),
            (ImageShape { channels: 2, ..IMAGE }, "another format"),
            (ImageShape { format: 0x08, ..IMAGE }, "another format"),
            (ImageShape { color_attachment: true, ..IMAGE }, "another colour attachment flag"),
            (large, "another width, height, levels"),
        ] {
            // As the driver: not a word.
            raw::map_array(image(double, &shape), |_| {}).unwrap();
            let found = double.findings();
            assert!(kinds(&found) == ["image-differs"] && found[0].text.ends_with(what), "{what}: {found:#?}");
        }
        for _ in 0..10 {
            raw::map_array(memory(double), |_| {}).unwrap();
        }
    });
}

#[test]
fn images_that_cannot_be_are_refused() {
    finds("images_that_cannot_be_are_refused", &[], |double| {
        let memory = image(double, &IMAGE);
        assert_eq!(raw::map_array(memory, |desc| desc.offset = SIZE - 16), Err(1));
        assert_eq!(raw::map_array(memory, |desc| desc.numLevels = 5), Err(1));
        assert_eq!(raw::map_array(memory, |desc| desc.arrayDesc.NumChannels = 3), Err(1));
        let array = raw::map_array(memory, |_| {}).unwrap();
        assert_eq!(raw::level(array, 1), Err(1));
        assert_eq!(raw::surface(raw::level(array, 0).unwrap()), Err(1), "it was not made for surfaces");
    });
}

#[test]
fn an_array_destroyed_before_its_objects() {
    let expected = ["objects-at-destroy", "objects-at-destroy", "use-after-destroy", "use-after-destroy"];
    finds("an_array_destroyed_before_its_objects", &expected, |double| {
        let memory = image(double, &IMAGE);
        let array = raw::map_array(memory, |desc| desc.arrayDesc.Flags = 0x02).unwrap();
        let level = raw::level(array, 0).unwrap();
        raw::texture(level, false, |_| {}).unwrap();
        raw::surface(level).unwrap();
        assert_eq!([raw::destroy_array(array), raw::destroy_array(array)], [0, 400]);
        assert_eq!(raw::surface(level), Err(400), "the level went with it");
    });
}

#[test]
fn memory_destroyed_before_its_array() {
    let expected = ["mapped-at-destroy", "outlives-context"];
    finds("memory_destroyed_before_its_array", &expected, |double| {
        let memory = image(double, &IMAGE);
        raw::map_array(memory, |_| {}).unwrap();
        assert_eq!([raw::destroy_memory(memory), raw::release(0)], [0, 0]);
    });
}

#[test]
fn an_array_destroyed_in_use() {
    finds("an_array_destroyed_in_use", &["pending-at-destroy", "use-after-destroy"], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        let address = raw::map(memory(double), 0, 32).unwrap();
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = raw::import_semaphore(exported, true).unwrap();
        let stream = raw::create_stream().unwrap();
        assert_eq!(raw::wait(timeline, 1, stream), 0);
        assert_eq!(raw::copy_to_level(level, address, 4, stream), 0);
        assert_eq!(raw::destroy_array(array), 0);
        double.signal(number, 1);
    });
}

#[test]
fn copies_past_the_end() {
    finds("copies_past_the_end", &["out-of-bounds"], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        let [short, long] = [16, 64].map(|size| raw::map(memory(double), 0, size).unwrap());
        assert_eq!(raw::copy_to_level(level, short, 4, 0), 700);
        assert_eq!(raw::copy_to_level(level, long, 5, 0), 1);
        assert_eq!(raw::copy_to_level(level, long, 4, 0), 0);
    });
}

#[test]
fn textures_that_the_header_forbids() {
    use cuda_import::cudarc::driver::sys::{CUaddress_mode, CUfilter_mode};
    finds("textures_that_the_header_forbids", &["texture-forbidden"; 6], |double| {
        let array = raw::map_array(image(double, &IMAGE), |_| {}).unwrap();
        let level = raw::level(array, 0).unwrap();
        assert_eq!(raw::texture(array, true, |_| {}), Err(1), "coordinates are not normalised");
        let wrap = CUaddress_mode::CU_TR_ADDRESS_MODE_WRAP;
        assert_eq!(raw::texture(level, false, |desc| desc.addressMode[1] = wrap), Err(1));
        let linear = CUfilter_mode::CU_TR_FILTER_MODE_LINEAR;
        assert_eq!(raw::texture(level, false, |desc| desc.filterMode = linear), Err(1));
        assert_eq!(raw::texture(level, false, |desc| desc.mipmapFilterMode = linear), Err(1));
        assert_eq!(raw::texture(level, false, |desc| desc.flags |= 0x40), Err(1), "no cube is seamless");
        assert_eq!(raw::texture(level, false, |desc| desc.minMipmapLevelClamp = 1.0), Err(1));
    });
}
