//! Shows an image: the compute side writes one float per pixel, and a view draws the image from the
//! same memory, in a window or headless.
//!
//! Run it with `cargo run --example 08_view`; append `-- --window` to open a window, and a number
//! of frames to end after so many. It needs a Vulkan device, which may be a software
//! implementation, and uses CUDA if the device's GPU supports it. It checks each picture and exits
//! with an error if one is wrong.

use std::error::Error;
use std::time::Duration;

use bridge::{Backend, Compute, Exchange, ExchangeInfo, OpenInfo, Work};
use bridge_view::{Element, ImageFormat, Look, View, ViewInfo, Window, WindowInfo};

/// Width and height of the image and of the picture.
const SIZE: [u32; 2] = [320, 200];

/// The limit of every wait.
const LIMIT: Duration = Duration::from_secs(10);

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// Returns the gray value of a pixel: rings that move outwards.
fn gray(pixel: u32, frame: u32) -> u8 {
    let (x, y) = ((pixel % SIZE[0]) as f32 - 160.0, (pixel / SIZE[0]) as f32 - 100.0);
    let phase = (x * x + y * y).sqrt() - 2.0 * frame as f32;
    (phase as i32).rem_euclid(64) as u8 * 4
}

fn run() -> Result<(), Box<dyn Error>> {
    let info = ViewInfo { size: SIZE, timeout: LIMIT };
    let mut arguments = std::env::args().skip(1);
    let in_window = arguments.next().is_some_and(|argument| argument == "--window");
    let mut view = if in_window {
        // The window is opened first, so that the device is one that can present to it.
        let window = Window::open(&WindowInfo { title: "08_view".into(), size: SIZE, ..Default::default() })?;
        let compute = window.open_compute(&OpenInfo::default(), Backend::Auto)?;
        View::in_window(&compute, &info, window)?
    } else {
        View::headless(&Compute::open(&OpenInfo::default(), Backend::Auto)?, &info)?
    };
    let compute = view.compute().clone();
    println!("Vulkan on {}, compute on {} ({})", compute.device().name(), compute.backend(), compute.reason());

    // Three slots that the view reads, with one float per pixel.
    let format = ImageFormat::new(SIZE, 1, Element::F32)?;
    let rings = ExchangeInfo { name: "rings", ..Default::default() };
    let mut rings = Exchange::new(&compute, &rings, format.spec::<f32>()?)?;

    let frames = match arguments.next() {
        Some(number) => number.parse()?,
        None if in_window => u32::MAX,
        None => 6,
    };
    let mut shown = 0;
    while shown < frames && view.is_running() {
        let expected: Vec<u8> = (0..SIZE[0] * SIZE[1]).map(|pixel| gray(pixel, shown)).collect();
        let values: Vec<f32> = expected.iter().map(|&gray| f32::from(gray) / 255.0).collect();
        let mut turn = rings.begin()?;
        match turn.work() {
            Work::Cuda(mut cuda) => cuda.stream.memcpy_htod(&values, &mut cuda.resources)?,
            Work::Host(host) => host.run(move |slot| slot.copy_from_slice(&values))?,
            _ => return Err("this program knows no such backend".into()),
        }
        // Draws on the GPU, directly from the slot. `Look` sets the exposure and the color map.
        view.show_image(turn.finish()?, format, &Look::default())?;
        view.draw()?;
        // Waits for the picture. A program that only shows it does not need this call.
        let picture = view.pixels()?;
        if picture.chunks_exact(4).ne(expected.iter().map(|&gray| [gray, gray, gray, 255])) {
            return Err(format!("frame {shown}: the picture is not the image").into());
        }
        shown += 1;
    }
    println!("{shown} frames of {} x {} pixels are drawn and right", SIZE[0], SIZE[1]);
    Ok(())
}
