//! Frames that pass through a view.

use bridge::{Compute, Exchange, LatestInfo, LiveObjects};
use bridge_tests::Rig;
use bridge_view::{Element, ImageFormat, Look};

use crate::{PIXELS, SIZE, info, noise, pixels, shown, view, write, write_work};

fn format() -> ImageFormat {
    ImageFormat::new(SIZE, 1, Element::U8).unwrap()
}

pub(crate) fn a_frame_that_is_replaced_is_given_back(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let mut exchange = Exchange::new(compute, &info(), format().spec::<u8>().unwrap()).unwrap();
    for value in 0..20 {
        let mut turn = exchange.begin().unwrap();
        write(&mut turn, &[value; PIXELS]);
        view.show_image(turn.finish().unwrap(), format(), &Look::default()).unwrap();
    }
    assert!(view.draw().unwrap());
    assert!(pixels(&mut view).iter().all(|pixel| *pixel == [19, 19, 19, 255]));
    // A frame that is never drawn.
    let turn = exchange.begin().unwrap();
    view.show_image(turn.finish().unwrap(), format(), &Look::default()).unwrap();
    drop(view);
    exchange.close().unwrap();
}

pub(crate) fn many_frames_are_in_flight(_: &Rig, compute: &Compute) {
    let before = LiveObjects::now();
    {
        let mut view = view(compute);
        let mut exchange = Exchange::new(compute, &info(), format().spec::<u8>().unwrap()).unwrap();
        for frame in 0..200_u32 {
            let mut turn = exchange.begin().unwrap();
            write(&mut turn, &[frame as u8; PIXELS]);
            view.show_image(turn.finish().unwrap(), format(), &Look::default()).unwrap();
            assert!(view.draw().unwrap());
        }
        view.finish().unwrap();
        assert!(pixels(&mut view).iter().all(|pixel| *pixel == [199, 199, 199, 255]));
    }
    assert_eq!(LiveObjects::now(), before);
}

pub(crate) fn frames_of_a_latest_exchange_are_drawn(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let latest = LatestInfo { name: "latest", timeout: Rig::LONG, ..Default::default() };
    let (mut writer, mut reader) = Exchange::latest(compute, &latest, format().spec::<u8>().unwrap()).unwrap();
    for value in 0..10_u8 {
        let mut turn = writer.begin().unwrap();
        write_work(turn.work(), &[value; PIXELS]);
        turn.publish().unwrap().wait(Rig::LONG).unwrap();
        // Draws the same frame a second time as well.
        for _ in 0..2 {
            let turn = reader.newest().unwrap().expect("a frame is finished");
            view.show_image(turn, format(), &Look::default()).unwrap();
            assert!(view.draw().unwrap());
            assert!(pixels(&mut view).iter().all(|pixel| *pixel == [value, value, value, 255]), "frame {value}");
        }
    }
}

/// A view that is dropped releases the timelines of the frames that it has drawn, even if another
/// view of the device lives on.
pub(crate) fn a_dropped_view_keeps_no_timelines(_: &Rig, compute: &Compute) {
    let other = view(compute);
    let before = LiveObjects::now();
    let mut dropped = view(compute);
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    shown(&mut dropped, format, &Look::default(), &noise(4 * PIXELS, 1));
    drop(dropped);
    assert_eq!(LiveObjects::now(), before);
    drop(other);
}
