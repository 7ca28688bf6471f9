//! Invalid input is an error, and the frame is returned to its exchange.

use std::sync::OnceLock;

use bridge::ash::vk;
use bridge::{Backend, BufferAccess, BufferSpec, Compute, Exchange, ImageAccess, ImageSpec, RenderTurn};
use bridge_tests::Rig;
use bridge_view::{
    Camera, Element, Error, ImageFormat, Look, MAX_POINTS, MAX_SIDE, PointFormat, PointKind, PointLook, View, ViewInfo,
};

use crate::{PIXELS, SIZE, info, noise, shown, view, write};

type Bytes = BufferSpec<u8>;

#[test]
fn invalid_formats_are_errors() {
    for sides in [[0, 4], [4, 0], [MAX_SIDE + 1, 4], [4, u32::MAX]] {
        refused(ImageFormat::new(sides, 3, Element::U8));
    }
    for channels in [0, 5, u32::MAX] {
        refused(ImageFormat::new(SIZE, channels, Element::F16));
    }
    refused(PointFormat::new(0, PointKind::Position));
    refused(PointFormat::new(MAX_POINTS + 1, PointKind::Value));
    refused(ImageFormat::new(SIZE, 1, Element::F32).unwrap().spec::<()>());
    assert_eq!(PointFormat::new(MAX_POINTS, PointKind::Color).unwrap().size(), 24 << 31);
}

#[test]
fn invalid_views_are_errors() {
    let rig = Rig::open();
    let compute = Compute::new(rig.device(), Backend::Host).unwrap();
    for size in [[0, 1], [1, 0], [MAX_SIDE + 1, 1], [u32::MAX; 2]] {
        let made = View::headless(&compute, &ViewInfo { size, ..Default::default() });
        assert!(matches!(made, Err(Error::InvalidArgument { .. })), "{size:?}");
    }
    let limit = u64::from(rig.device().physical().limits.max_storage_buffer_range);
    if 4 * u64::from(MAX_SIDE).pow(2) > limit {
        let made = View::headless(&compute, &ViewInfo { size: [MAX_SIDE; 2], ..Default::default() });
        assert!(matches!(made, Err(Error::TooLarge { .. })), "{made:?}");
    }
}

/// Nothing was submitted: the view continues, and leaks nothing.
#[test]
fn a_picture_requested_under_the_queues_lock_is_refused() {
    let device = Rig::open_own();
    let compute = Compute::new(&device, Backend::Host).unwrap();
    let mut view = view(&compute);
    let format = ImageFormat::new(SIZE, 3, Element::U8).unwrap();
    let mut exchange = Exchange::new(&compute, &info(), format.spec::<u8>().unwrap()).unwrap();
    let mut turn = exchange.begin().unwrap();
    write(&mut turn, &noise(3 * PIXELS, 1));
    view.show_image(turn.finish().unwrap(), format, &Look::default()).unwrap();
    assert!(view.draw().unwrap());
    let picture = view.pixels().unwrap();
    let asked = device.queue().with(|_| view.pixels()).unwrap();
    assert!(matches!(asked, Err(Error::Bridge(_))), "{asked:?}");
    assert_eq!(view.pixels().unwrap(), picture);
    drop(view);
    exchange.close().unwrap();
    drop(compute);
    device.try_release().unwrap();
}

/// Events are delivered on one thread, which on some systems must be the main thread; a missing
/// window is an error and not a panic.
#[test]
fn windows_that_cannot_be_opened_are_errors() {
    let thread = std::thread::spawn(|| {
        let polled = bridge_view::poll_events(std::time::Duration::ZERO);
        assert!(matches!(polled, Err(Error::OtherThread)), "{polled:?}");
        let window = |title: &str, size| {
            bridge_view::Window::open(&bridge_view::WindowInfo { title: title.into(), size, ..Default::default() })
        };
        assert!(matches!(window("a\0b", SIZE), Err(Error::InvalidArgument { .. })));
        assert!(matches!(window("a", [0, 5]), Err(Error::InvalidArgument { .. })));
        assert!(matches!(window("a", SIZE), Err(Error::NoWindow { .. })), "not the main thread");
    });
    thread.join().unwrap();
}

pub(crate) fn frames_that_cannot_be_drawn_are_given_back(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    let (look, read) = (Look::default(), BufferAccess::COMPUTE_READ);
    for (what, len, access) in [
        ("one byte too few", 4 * PIXELS - 1, read),
        ("not for shaders", 4 * PIXELS, BufferAccess::TRANSFER_READ),
        ("for other shaders", 4 * PIXELS, BufferAccess::SHADER_READ),
        ("no storage", 4 * PIXELS, BufferAccess { usage: vk::BufferUsageFlags::UNIFORM_BUFFER, ..read }),
    ] {
        given_back(compute, Bytes::new(len, access), |frame| {
            let error = view.show_image(frame, format, &look).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{what}: {error}");
        });
    }
    for exposure in [f32::NAN, f32::INFINITY] {
        given_back(compute, format.spec().unwrap(), |frame| {
            refused(view.show_image(frame, format, &Look { exposure, ..look }));
        });
    }
    let format = PointFormat::new(7, PointKind::Position).unwrap();
    let good = PointLook::default();
    for bad in [
        PointLook { size: 0, ..good },
        PointLook { size: 65, ..good },
        PointLook { camera: Camera { distance: 0.0, ..good.camera }, ..good },
        PointLook { camera: Camera { yaw: f32::NAN, ..good.camera }, ..good },
        PointLook { camera: Camera { field_of_view: 3.2, ..good.camera }, ..good },
    ] {
        given_back(compute, format.spec().unwrap(), |frame| refused(view.show_points(frame, format, &bad)));
    }
    given_back(compute, Bytes::new(83, read), |frame| refused(view.show_points(frame, format, &good)));
    assert!(!view.draw().unwrap(), "nothing was shown");
    // Never destroyed, like the device of all tests.
    static OTHER: OnceLock<Compute> = OnceLock::new();
    let other = OTHER.get_or_init(|| Compute::new(&Rig::open_own(), Backend::Host).unwrap());
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    given_back(other, format.spec().unwrap(), |frame| refused(view.show_image(frame, format, &look)));
    let image = noise(4 * PIXELS, 1);
    assert_eq!(shown(&mut view, format, &look, &image).as_flattened(), image);
}

pub(crate) fn images_that_cannot_be_drawn_are_given_back(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let (rgba, read) = (vk::Format::R8G8B8A8_UNORM, ImageAccess::COMPUTE_SAMPLED);
    let shown_to = |view: &mut View, look: Look, spec, what: &str| {
        let mut exchange = Exchange::<ImageSpec<[u8; 4]>>::new(compute, &info(), spec).unwrap();
        for _ in 0..5 {
            let error = view.show_texture(exchange.begin().unwrap().finish().unwrap(), &look).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{what}: {error}");
            assert!(error.to_string().contains(what), "{error}");
        }
    };
    for (spec, what) in [
        (ImageSpec::new(rgba, SIZE, ImageAccess::TRANSFER_READ), "COMPUTE_SAMPLED"),
        (ImageSpec::new(rgba, SIZE, ImageAccess::SAMPLED), "COMPUTE_SAMPLED"),
        (ImageSpec::new(rgba, SIZE, ImageAccess::STORAGE_READ), "COMPUTE_SAMPLED"),
        (ImageSpec::new(vk::Format::R8G8B8A8_UINT, SIZE, read), "R8G8B8A8_UINT"),
        (ImageSpec::new(rgba, SIZE, read).with_array_layers(2), "D2 with 2 layers"),
        (ImageSpec::new_3d(rgba, [SIZE[0], SIZE[1], 1], read), "D3"),
        (ImageSpec::cube(rgba, 8, read), "Cube with 6 layers"),
    ] {
        shown_to(&mut view, Look::default(), spec, what);
    }
    let look = Look { exposure: f32::NAN, ..Look::default() };
    shown_to(&mut view, look, ImageSpec::new(rgba, SIZE, read), "exposure");
    assert!(!view.draw().unwrap(), "nothing was shown");
}

pub(crate) fn slots_that_cannot_take_the_picture_are_given_back(_: &Rig, compute: &Compute) {
    let mut view = view(compute);
    let format = ImageFormat::new(SIZE, 4, Element::U8).unwrap();
    shown(&mut view, format, &Look::default(), &noise(4 * PIXELS, 1));
    for spec in
        [Bytes::new(4 * PIXELS - 1, BufferAccess::TRANSFER_WRITE), Bytes::new(4 * PIXELS, BufferAccess::TRANSFER_READ)]
    {
        let mut slots = Exchange::render_first(compute, &info(), spec).unwrap();
        for _ in 0..5 {
            refused(view.read(slots.begin().unwrap()));
        }
    }
    let rgba = vk::Format::R8G8B8A8_UNORM;
    for spec in [
        ImageSpec::new(rgba, [SIZE[0], SIZE[1] + 1], ImageAccess::TRANSFER_WRITE),
        ImageSpec::new(rgba, SIZE, ImageAccess::TRANSFER_READ),
        ImageSpec::new_3d(rgba, [SIZE[0], SIZE[1], 1], ImageAccess::TRANSFER_WRITE),
    ] {
        let mut slots = Exchange::render_first(compute, &info(), spec).unwrap();
        for _ in 0..5 {
            refused(view.read(slots.begin().unwrap()));
        }
    }
}

#[track_caller]
fn refused<T>(made: Result<T, Error>) {
    assert!(matches!(made, Err(Error::InvalidArgument { .. })), "{:?}", made.err());
}

/// Calls `refuse` with more frames than there are slots, which requires that each is returned.
fn given_back(compute: &Compute, spec: Bytes, mut refuse: impl FnMut(RenderTurn<Bytes>)) {
    let mut exchange = Exchange::new(compute, &info(), spec).unwrap();
    for _ in 0..5 {
        let turn = exchange.begin().unwrap();
        refuse(turn.finish().unwrap());
    }
}
