//! The events of copies between images and cudarc's slices on other streams, which later copies
//! record again.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

use crate::common::assert_clean;
use crate::common::world::{TEXELS, Texel, device, import_image, map_image};
use crate::slices::{Hold, copy};
use cuda_import::cudarc::driver::CudaContext;
use cuda_import::query;
use driver_double::{Double, Planted};

/// Returns the objects of the calls of this name.
fn objects(double: &Double, name: &str) -> Vec<u64> {
    double.calls().into_iter().filter(|call| call.name == name).map(|call| call.object).collect()
}

/// Any number of copies uses one event for the order with the slices' streams, and on a foreign
/// stream another one for the order with the home stream.
#[test]
fn copies_record_the_same_events_again() {
    let Some(double) = Double::in_child("slice_events::copies_record_the_same_events_again") else { return };
    let device = device();
    let [home, foreign] = [(); 2].map(|()| device.new_stream().unwrap());
    let owns = [(); 2].map(|()| device.new_stream().unwrap());
    let mut image = map_image(&import_image(&double, &device), &home);
    let mut slices = owns.each_ref().map(|own| own.alloc_zeros::<Texel>(TEXELS).unwrap());
    for (stream, events) in [(&home, Some(1)), (&foreign, None)] {
        // The first copies on the foreign stream also create what orders its use of the image.
        for copies in [4, 100] {
            double.forget_calls();
            for nth in 0..copies {
                copy(&mut image, stream, &mut slices[nth % 2], nth % 4 < 2);
            }
            let count = |name| objects(&double, name).len();
            let events = if copies == 4 { events } else { Some(0) };
            let counted = (count("cuEventCreate"), count("cuEventDestroy_v2"));
            assert!(events.is_none_or(|events| counted == (events, 0)), "{counted:?} of {copies} copies");
            assert!(count("cuStreamWaitEvent") >= 2 * copies);
        }
    }
    drop((image, slices, owns, home, foreign, device));
    assert_clean(&double);
}

/// An event that is recorded again does not affect the copies before, whose streams still wait for
/// what it recorded then.
#[test]
fn a_copy_does_not_disturb_the_order_of_earlier_ones() {
    let Some(double) = Double::in_child("slice_events::a_copy_does_not_disturb_the_order_of_earlier_ones") else {
        return;
    };
    let device = device();
    let [home, held, own] = [(); 3].map(|()| device.new_stream().unwrap());
    let image = map_image(&import_image(&double, &device), &home);
    let mut slices = [&held, &own].map(|stream| stream.alloc_zeros::<Texel>(TEXELS).unwrap());
    let hold = Hold::new(&double, &device, &held);
    image.view().copy_to_buffer(&home, 0, .., &mut slices[0]).unwrap();
    double.forget_calls();
    // A copy of another image, on the slice's own stream, waits for nothing.
    let other = map_image(&import_image(&double, &device), &own);
    other.view().copy_to_buffer(&own, 0, .., &mut slices[1]).unwrap();
    assert!(query(&own).unwrap() && !query(&home).unwrap());
    image.view().copy_to_buffer(&home, 0, .., &mut slices[1]).unwrap();
    assert!(objects(&double, "cuEventCreate").is_empty(), "the event is recorded again");
    assert!(!query(&home).unwrap() && !query(&own).unwrap(), "they wait for the stream of the first slice");
    hold.release();
    assert!([&home, &held, &own].iter().all(|stream| query(stream).unwrap()));
    drop((image, other, slices, home, held, own, device));
    assert_clean(&double);
}

/// Control of the tests above: a copy whose event is not recorded again waits for nothing.
#[test]
fn an_event_that_is_not_recorded_again_orders_nothing() {
    let Some(double) = Double::in_child("slice_events::an_event_that_is_not_recorded_again_orders_nothing") else {
        return;
    };
    let device = device();
    let home = device.new_stream().unwrap();
    // Its object has no created stream: cudarc records no event there.
    let own = CudaContext::new(0).unwrap().default_stream();
    let mut image = map_image(&import_image(&double, &device), &home);
    let mut slice = own.alloc_zeros::<Texel>(TEXELS).unwrap();
    for is_recorded in [true, false] {
        image.view_mut().write_from_host(&home, 0, .., &[[1; 4]; TEXELS]).unwrap();
        double.forget_calls();
        copy(&mut image, &home, &mut slice, true);
        let event = objects(&double, "cuEventRecord")[0];
        let hold = Hold::new(&double, &device, &own);
        own.memcpy_htod(&[[2; 4]; TEXELS], &mut slice).unwrap();
        if !is_recorded {
            double.plant(Planted::Skipped, "cuEventRecord", event);
        }
        copy(&mut image, &home, &mut slice, true);
        double.unplant();
        assert_eq!(query(&home).unwrap(), !is_recorded);
        hold.release();
        let mut read = [[0; 4]; TEXELS];
        image.view().read_to_host(&home, 0, .., &mut read).unwrap();
        assert_eq!(read, if is_recorded { [[2; 4]; TEXELS] } else { [[0; 4]; TEXELS] });
        own.memset_zeros(&mut slice).unwrap();
    }
}

/// A copy has its event for itself until both streams wait for it.
#[test]
fn copies_on_two_threads_have_an_event_each() {
    let Some(double) = Double::in_child("slice_events::copies_on_two_threads_have_an_event_each") else { return };
    let device = device();
    let [home, own] = [(); 2].map(|()| device.new_stream().unwrap());
    let image = map_image(&import_image(&double, &device), &home);
    let mut slices = [(); 3].map(|()| own.alloc_zeros::<Texel>(TEXELS).unwrap());
    let [first, second, third] = &mut slices;
    home.context().bind_to_thread().unwrap();
    double.forget_calls();
    image.view().copy_to_buffer(&home, 0, .., first).unwrap();
    let event = objects(&double, "cuEventRecord")[0];
    let last_wait = double.calls().iter().rposition(|call| call.name == "cuStreamWaitEvent").unwrap() as u64;
    let creations = double.calls().iter().filter(|call| call.name == "cuEventCreate").count() as u64;
    let hold = Hold::new(&double, &device, &home);
    std::thread::scope(|scope| {
        double.forget_calls();
        // The calls are the same without the creation, counted from 1. The host waits instead.
        let (double, home, image) = (&double, &home, &image);
        let copying = scope.spawn(move || {
            home.context().bind_to_thread().unwrap();
            double.fail_nth(last_wait + 1 - creations, 2, false);
            image.view().copy_to_buffer(home, 0, .., second)
        });
        double.wait_until_ended_or_blocked(&copying);
        let (is_copying, of_one) = (!copying.is_finished(), objects(double, "cuEventRecord"));
        let failed = double.disarm().map(|call| call.name);
        double.forget_calls();
        let copied = image.view().copy_to_buffer(home, 0, .., third);
        let (of_other, created) = (objects(double, "cuEventRecord"), objects(double, "cuEventCreate").len());
        hold.release();
        copying.join().unwrap().unwrap();
        copied.unwrap();
        assert_eq!((is_copying, failed.as_deref()), (true, Some("cuStreamWaitEvent")));
        assert!(of_one.contains(&event) && !of_other.contains(&event), "it is in use");
        assert_eq!(created, 1);
    });
    drop((image, slices, home, own, device));
    assert_clean(&double);
}
