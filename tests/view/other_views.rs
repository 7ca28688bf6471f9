//! Several views and windows on one queue: nothing that is presented waits for the CPU, whichever
//! view has drawn it.
#![allow(unsafe_code)] // Creates the images of a window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge::{Compute, Exchange, ExchangeInfo};
use bridge_tests::{Gate, Rig, assert_silent};
use bridge_view::{Element, Error, ImageFormat, Look, Result, View, ViewInfo, WindowImages};

use crate::window::{Scene, adopt, scene, show, until_presented, until_shown};
use crate::x11::Own;
use crate::{PIXELS, SIZE, info, write};

/// The timeout of everything that cannot end.
const SHORT: Duration = Duration::from_millis(50);

fn format() -> ImageFormat {
    ImageFormat::new(SIZE, 3, Element::U8).unwrap()
}

fn headless(compute: &Compute) -> View {
    View::headless(compute, &ViewInfo { size: SIZE, timeout: SHORT }).unwrap()
}

fn in_window(compute: &Compute, own: &Arc<Own>) -> Result<View> {
    View::in_window(compute, &ViewInfo { size: SIZE, timeout: SHORT }, adopt(own))
}

/// Selects a frame that is computed once the gate opens.
fn show_held(view: &mut View, gate: &Gate, value: u8) {
    let info = ExchangeInfo { timeout: SHORT, ..info() };
    let mut exchange = Exchange::new(view.compute(), &info, format().spec::<u8>().unwrap()).unwrap();
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    write(&mut turn, &[value; 3 * PIXELS]);
    view.show_image(turn.finish().unwrap(), format(), &Look::default()).unwrap();
}

fn assert_timeout<T>(result: Result<T>) {
    let error = result.err().expect("it waits for the CPU");
    assert!(matches!(&error, Error::Bridge(bridge::Error::Timeout { .. })), "{error:?}");
}

/// Repeats a call that times out after a short time.
fn at_last<T>(mut call: impl FnMut() -> Result<T>) -> T {
    let begun = Instant::now();
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => assert!(begun.elapsed() < Rig::LONG, "{error}"),
        }
    }
}

/// While a view has a window, no view submits a frame that waits for the CPU.
#[test]
fn frames_of_all_views_are_computed_before_they_are_drawn_if_one_has_a_window() {
    let Some(Scene { view: mut shown, own, events, turn: _turn }) = scene() else { return };
    let compute = shown.compute().clone();
    show(&mut shown, &[1; 3 * PIXELS]);
    until_presented(&mut shown);
    let mut other = headless(&compute);
    show(&mut shown, &[2; 3 * PIXELS]);
    let gate = Gate::on(&compute);
    show_held(&mut other, &gate, 3);
    assert_timeout(other.draw());
    // Nothing was submitted: the window continues.
    until_shown(&mut shown, &own, SIZE, &[[2; 3]; PIXELS]);
    gate.open();
    show(&mut other, &[4; 3 * PIXELS]);
    at_last(|| other.draw());

    // A picture that is read into a slot that the CPU has not returned.
    let info = ExchangeInfo { slots: 1, timeout: SHORT, ..info() };
    let mut exchange = Exchange::render_first(&compute, &info, other.picture_spec().unwrap()).unwrap();
    let gate = Gate::on(&compute);
    let mut read = |view: &mut View| view.read(exchange.begin()?);
    let mut turn = read(&mut other).unwrap();
    gate.hold(&mut turn);
    turn.finish().unwrap();
    assert_timeout(read(&mut other));
    gate.open();
    at_last(|| read(&mut other)).skip().unwrap();

    // Two windows, of which the user closes one.
    let Some(own) = Own::open(SIZE).map(Arc::new) else { return };
    let second = in_window(&compute, &own).unwrap();
    let gate = Gate::on(&compute);
    events.close();
    show_held(&mut shown, &gate, 5);
    assert_timeout(shown.draw());
    drop(second);
    show_held(&mut shown, &gate, 6);
    assert!(shown.draw().unwrap(), "nothing is presented any more");
    gate.open();
    shown.finish().unwrap();
    assert_silent(compute.device());
}

/// A window is only added once nothing on its queue waits for the CPU, whichever view has submitted
/// it.
#[test]
fn a_window_is_added_once_the_frames_of_all_views_are_computed() {
    let Some(Scene { view, own, turn: _turn, .. }) = scene() else { return };
    let compute = view.compute().clone();
    drop(view);
    let mut others = [headless(&compute), headless(&compute)];
    let mut last = headless(&compute);
    let gate = Gate::on(&compute);
    for other in &mut others {
        show_held(other, &gate, 1);
        assert!(other.draw().unwrap(), "there is no window");
    }
    assert_timeout(in_window(&compute, &own).map(drop));
    assert_timeout(last.attach_window(adopt(&own)));
    // A window that was refused does not count.
    show_held(&mut others[0], &gate, 2);
    assert!(others[0].draw().unwrap());
    // The views leave their frames behind: their objects are leaked, and the frames still count.
    drop(others);
    drop(last);
    assert_timeout(in_window(&compute, &own).map(drop));
    gate.open();
    let mut view = at_last(|| in_window(&compute, &own));
    show(&mut view, &[3; 3 * PIXELS]);
    until_shown(&mut view, &own, SIZE, &[[3; 3]; PIXELS]);
    assert_silent(compute.device());
}

/// Images that the program presents itself are presented behind the views' frames too.
#[test]
fn frames_are_computed_before_they_are_drawn_if_the_program_has_images_of_a_window() {
    let Some(Scene { view, own, turn: _turn, .. }) = scene() else { return };
    let compute = view.compute().clone();
    drop(view);
    // SAFETY: `own` outlives the images.
    let images = unsafe { WindowImages::new(compute.device(), &*own, SIZE, 1) }.unwrap();
    let mut view = headless(&compute);
    let gate = Gate::on(&compute);
    show_held(&mut view, &gate, 1);
    assert_timeout(view.draw());
    drop(images);
    show_held(&mut view, &gate, 2);
    assert!(view.draw().unwrap());
    gate.open();
    view.finish().unwrap();
    assert_silent(compute.device());
}

/// Windows come and go on one thread while another one draws: no frame that waits for the CPU is
/// submitted in between.
#[test]
fn windows_are_added_while_another_thread_draws() {
    let Some(Scene { view, own, turn: _turn, .. }) = scene() else { return };
    let compute = view.compute().clone();
    drop(view);
    std::thread::scope(|scope| {
        let windows = scope.spawn(|| {
            for round in 0..10 {
                let mut view = View::in_window(&compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }, adopt(&own))?;
                show(&mut view, &[round; 3 * PIXELS]);
                until_presented(&mut view);
            }
            Ok::<_, Error>(())
        });
        let mut view = View::headless(&compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }).unwrap();
        while !windows.is_finished() {
            show(&mut view, &[1; 3 * PIXELS]);
            assert!(view.draw().unwrap());
        }
        windows.join().unwrap().unwrap();
    });
    assert_silent(compute.device());
}
