//! A view in a window of the program, which forwards the window's events.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bridge::vk_export::Validation;
use bridge::{Backend, Compute, Exchange, ExchangeInfo, OpenInfo};
use bridge_tests::{Gate, Need, Rig, assert_silent, skip};
use bridge_view::{
    Drawn, Element, Error, ImageFormat, Look, PointFormat, PointKind, PointLook, View, ViewInfo, Window, WindowInfo,
    WindowState,
};

use crate::x11::Own;
use crate::{PIXELS, SIZE, info, noise, write};

/// A view in a window, and the objects that its test needs. No other test runs at the same time.
pub(crate) struct Scene {
    pub(crate) view: View,
    pub(crate) events: WindowState,
    pub(crate) own: Arc<Own>,
    pub(crate) turn: Rig,
}

/// Returns `None` and skips the test if the machine cannot show windows.
pub(crate) fn scene() -> Option<Scene> {
    let turn = Rig::open();
    let own = Arc::new(Own::open(SIZE)?);
    let window = adopt(&own);
    let compute = compute(&window)?;
    let events = window.state();
    match View::in_window(&compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }, window) {
        Ok(view) => Some(Scene { view, events, own, turn }),
        Err(error @ Error::CannotPresent { .. }) => {
            skip(Need::Other, &error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn adopt(own: &Arc<Own>) -> Window {
    Window::adopt(own.clone(), &WindowInfo { size: SIZE, ..WindowInfo::default() }).unwrap()
}

/// Returns the compute side of a device that can present to the window. The device is never
/// destroyed, like that of [`Rig`].
pub(crate) fn compute(window: &Window) -> Option<Compute> {
    static COMPUTE: OnceLock<Result<Compute, String>> = OnceLock::new();
    let open = || {
        let info = OpenInfo { validation: Validation::IfPresent, ..OpenInfo::default() };
        window.open_compute(&info, Backend::Host).map_err(|error| error.to_string())
    };
    COMPUTE.get_or_init(open).as_ref().map_err(|error| skip(Need::Other, error)).ok().cloned()
}

/// Shows an image of these bytes, red, green and blue of each pixel.
pub(crate) fn show(view: &mut View, bytes: &[u8]) {
    let format = ImageFormat::new(SIZE, 3, Element::U8).unwrap();
    let mut exchange = Exchange::new(view.compute(), &info(), format.spec::<u8>().unwrap()).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, bytes);
    view.show_image(turn.finish().unwrap(), format, &Look::default()).unwrap();
}

fn show_point(view: &mut View, point: [f32; 3]) {
    let format = PointFormat::new(1, PointKind::Position).unwrap();
    let mut exchange = Exchange::new(view.compute(), &info(), format.spec::<u8>().unwrap()).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, bytemuck::bytes_of(&point));
    view.show_points(turn.finish().unwrap(), format, &PointLook { size: 1, ..PointLook::default() }).unwrap();
}

/// Draws until `seen` returns `true`: the window system shows a picture with a delay.
fn until(view: &mut View, what: &str, mut seen: impl FnMut(Drawn) -> bool) {
    let begun = Instant::now();
    while !seen(view.draw_and_present().unwrap()) {
        assert!(begun.elapsed() < Rig::LONG, "{what}");
        std::thread::yield_now();
    }
}

pub(crate) fn until_presented(view: &mut View) {
    until(view, "the window takes the picture", |drawn| drawn.presented);
}

pub(crate) fn until_shown(view: &mut View, own: &Own, size: [u32; 2], expected: &[[u8; 3]]) {
    until(view, "the window shows the picture", |_| own.pixels(size) == expected);
}

fn pixels_of(bytes: &[u8]) -> Vec<[u8; 3]> {
    bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

#[test]
fn the_programs_window_shows_the_picture_and_follows_its_size() {
    let Some(Scene { mut view, events, own, turn: _turn }) = scene() else { return };
    for seed in 0..20 {
        let bytes = noise(3 * PIXELS, seed);
        show(&mut view, &bytes);
        // `draw` does not process window events, of which there are none here.
        assert!(view.draw().unwrap());
        until_shown(&mut view, &own, SIZE, &pixels_of(&bytes));
    }
    show(&mut view, &[200; 3 * PIXELS]);
    // Twice as wide, with bars of eight pixels above and below.
    let size = [2 * SIZE[0], 2 * SIZE[1] + 16];
    own.resize(size);
    events.resized(size);
    let row = |y: usize| [[if (8..8 + 2 * SIZE[1] as usize).contains(&y) { 200 } else { 0 }; 3]; 2 * SIZE[0] as usize];
    let expected: Vec<_> = (0..size[1] as usize).flat_map(row).collect();
    until_shown(&mut view, &own, size, &expected);
    assert_silent(view.compute().device());
}

/// No image is acquired that cannot be submitted: otherwise each of the three pictures in flight
/// would be lost.
#[test]
fn a_window_continues_after_draws_under_the_queues_lock() {
    let Some(Scene { mut view, events, own, turn: _turn }) = scene() else { return };
    show(&mut view, &[1; 3 * PIXELS]);
    until_shown(&mut view, &own, SIZE, &[[1; 3]; PIXELS]);
    let device = view.compute().device().clone();
    for _ in 0..4 {
        events.uncovered();
        device.queue().with(|_| view.draw_and_present().unwrap_err()).unwrap();
    }
    show(&mut view, &[2; 3 * PIXELS]);
    until_shown(&mut view, &own, SIZE, &[[2; 3]; PIXELS]);
    assert_silent(&device);
}

#[test]
fn hidden_and_minimized_windows_are_skipped_and_closed_ones_for_good() {
    let Some(Scene { mut view, events, own, turn: _turn }) = scene() else { return };
    let mut shown = 0;
    let mut next = |view: &mut View| {
        shown += 1;
        show(view, &[shown; 3 * PIXELS]);
        vec![[shown; 3]; PIXELS]
    };
    let first = next(&mut view);
    until_shown(&mut view, &own, SIZE, &first);
    for (leave, back) in [
        (&(|| events.set_hidden(true)) as &dyn Fn(), &(|| events.set_hidden(false)) as &dyn Fn()),
        (&|| events.resized([0, 0]), &|| events.resized(SIZE)),
    ] {
        leave();
        let picture = next(&mut view);
        assert_eq!(outcome(&mut view), (true, false));
        assert_eq!(outcome(&mut view), (false, false));
        back();
        until_shown(&mut view, &own, SIZE, &picture);
    }
    // The same picture is presented once more, and then not again.
    events.uncovered();
    until_presented(&mut view);
    assert_eq!(outcome(&mut view), (false, false));

    assert!(view.is_running());
    events.close();
    next(&mut view);
    assert_eq!(outcome(&mut view), (true, false));
    assert!(!view.is_running() && view.window().unwrap().is_closed());
    assert_silent(view.compute().device());
}

/// Returns whether a frame was drawn, and whether the picture was presented to the window.
fn outcome(view: &mut View) -> (bool, bool) {
    let Drawn { drawn, presented, .. } = view.draw_and_present().unwrap();
    (drawn, presented)
}

#[test]
fn the_camera_follows_the_events_of_the_program() {
    let Some(Scene { mut view, events, own, turn: _turn }) = scene() else { return };
    // There are no points yet that could turn.
    events.drag([100.0, 0.0]);
    show_point(&mut view, [0.0, 0.0, 0.5]);
    until_presented(&mut view);
    let place =
        |view: &mut View| view.pixels().unwrap().chunks_exact(4).position(|pixel| pixel[..3] != [0; 3]).unwrap();
    let middle = place(&mut view);
    assert_eq!(middle, 8 * SIZE[0] as usize + 12);

    // NaN and infinity move nothing, and very large values move the camera only to its limits.
    for nothing in [f32::NAN, f32::INFINITY] {
        events.drag([nothing, 0.0]);
        events.drag([0.0, nothing]);
        events.zoom(nothing);
    }
    assert!(!view.draw_and_present().unwrap().presented, "the camera has not moved");
    events.drag([60.0, 0.0]);
    until_presented(&mut view);
    // The scene follows the pointer.
    let turned = place(&mut view);
    assert!(turned > middle && turned / SIZE[0] as usize == 8, "{turned}");
    let mut window = vec![[0; 3]; PIXELS];
    window[turned] = [255; 3];
    until_shown(&mut view, &own, SIZE, &window);
    events.zoom(-4.0);
    until_presented(&mut view);
    assert!((middle..turned).contains(&place(&mut view)), "it is further away");
    for _ in 0..3 {
        events.drag([f32::MAX, f32::MIN]);
        events.zoom(f32::MAX);
    }
    events.reset_camera();
    until_presented(&mut view);
    assert_eq!(place(&mut view), middle);
    assert_silent(view.compute().device());
}

#[test]
fn a_destroyed_window_is_an_error_and_the_view_continues_with_another() {
    let Some(Scene { mut view, own, turn: _turn, .. }) = scene() else { return };
    show(&mut view, &[1; 3 * PIXELS]);
    until_presented(&mut view);
    own.destroy();
    // The system reports it with one of the next pictures.
    let begun = Instant::now();
    let error = loop {
        show(&mut view, &[2; 3 * PIXELS]);
        if let Err(error) = view.draw_and_present() {
            break error;
        }
        assert!(begun.elapsed() < Rig::LONG, "the window was destroyed");
    };
    assert!(
        matches!(error, Error::SurfaceLost { .. } | Error::Vulkan { .. } | Error::CannotPresent { .. }),
        "{error:?}"
    );
    assert!(!error.is_device_lost());
    assert_eq!(Arc::strong_count(&own), 2, "the view keeps the window");
    view.detach_window().unwrap();
    assert_eq!(Arc::strong_count(&own), 1);
    view.detach_window().unwrap();
    assert!(view.window().is_none() && view.is_running());
    show(&mut view, &[3; 3 * PIXELS]);
    assert!(view.draw().unwrap());
    assert_eq!(view.pixels().unwrap()[..3], [3; 3]);

    for round in [4, 5] {
        let Some(other) = Own::open(SIZE).map(Arc::new) else { return };
        // The second window replaces the first.
        view.attach_window(adopt(&other)).unwrap();
        show(&mut view, &[round; 3 * PIXELS]);
        until_shown(&mut view, &other, SIZE, &vec![[round; 3]; PIXELS]);
    }
    assert_silent(view.compute().device());
}

/// A picture that waits for a pending signal of the CPU must not be presented.
#[test]
fn pictures_that_wait_for_the_cpu_are_not_presented() {
    let Some(Scene { mut view, own, turn: _turn, .. }) = scene() else { return };
    let compute = view.compute().clone();
    let format = ImageFormat::new(SIZE, 3, Element::U8).unwrap();
    show(&mut view, &[1; 3 * PIXELS]);
    until_presented(&mut view);

    // A picture that is read into a slot that the CPU has not returned.
    // The waits before the gate must end within the timeout, too.
    let info = ExchangeInfo { slots: 1, timeout: Duration::from_secs(5), ..info() };
    let mut exchange = Exchange::render_first(&compute, &info, view.picture_spec().unwrap()).unwrap();
    let gate = Gate::on(&compute);
    let mut turn = view.read(exchange.begin().unwrap()).unwrap();
    gate.hold(&mut turn);
    turn.finish().unwrap();
    let error = exchange.begin().map_err(Error::from).and_then(|frame| view.read(frame)).unwrap_err();
    assert!(matches!(&error, Error::Bridge(bridge::Error::Timeout { .. })), "{error:?}");
    gate.open();
    show(&mut view, &[2; 3 * PIXELS]);
    until_shown(&mut view, &own, SIZE, &[[2; 3]; PIXELS]);
    drop(view);

    // A picture that was drawn before there was a window.
    let mut view = View::headless(&compute, &ViewInfo { size: SIZE, timeout: Duration::from_millis(50) }).unwrap();
    let mut exchange = Exchange::new(&compute, &crate::info(), format.spec::<u8>().unwrap()).unwrap();
    let gate = Gate::on(&compute);
    let mut turn = exchange.begin().unwrap();
    gate.hold(&mut turn);
    write(&mut turn, &[3; 3 * PIXELS]);
    view.show_image(turn.finish().unwrap(), format, &Look::default()).unwrap();
    assert!(view.draw().unwrap());
    let error = view.attach_window(adopt(&own)).unwrap_err();
    assert!(matches!(&error, Error::Bridge(bridge::Error::Timeout { .. })), "{error:?}");
    assert!(view.window().is_none());
    gate.open();
    // Each attempt waits only for a short time.
    let begun = Instant::now();
    let at_last = |call: &mut dyn FnMut() -> Result<(), Error>| {
        while let Err(error) = call() {
            assert!(begun.elapsed() < Rig::LONG, "{error}");
        }
    };
    at_last(&mut || view.attach_window(adopt(&own)));
    until_shown(&mut view, &own, SIZE, &[[3; 3]; PIXELS]);
    at_last(&mut || view.detach_window());
    assert_silent(compute.device());
}
