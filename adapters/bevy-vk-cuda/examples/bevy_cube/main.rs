//! A cube that CUDA paints, and a million particles that CUDA moves, or fewer on the CPU, in a Bevy
//! scene.
//!
//! `cargo run --example bevy_cube -- --frames 60 --out out` draws without a window, writes the last
//! picture and checks it: the texture and the particles bit for bit, and the picture of the cube
//! square by square. With `--features window`, `--window` shows the scene in a window. `--compare` measures the cost of a frame, with textures of the sizes in
//! `--texture`.

mod check;
mod compare;
mod cube;
mod pace;
mod scene;
mod staged;
mod swarm;
#[cfg(feature = "window")]
mod window;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bevy_vk_cuda::CudaPlugin;
use cube::SQUARES;
use pace::Pace;
use scene::{Contents, SIZE, Scene};

const USAGE: &str = "\
    --frames N      how many are drawn and timed (60)\n  \
    --out DIR       where the picture goes (out)\n  \
    --texture N     the side of the cube's texture, a multiple of 64 (64); --compare takes several: 64,4096\n  \
    --particles N   (1000000 with CUDA, 20000 else)\n  \
    --way NAME      auto, host (the CPU computes, frames are copied as with CUDA) or upload (auto)\n  \
    --share-queue   on devices with one queue, copies are submitted to Bevy's\n  \
    --compare       draws the frames in three ways and prints the ratios: still, shared, uploaded\n  \
    --rounds N      how often each way of a comparison is measured, in turns (1)\n  \
    --window        shows the scene in a window until it is closed, or for N frames; needs the feature `window`\n  \
    --resize WxH    the size of the window in the second third of its N frames\n  \
    --validate      with the validation layer";

struct Args {
    /// The number of drawn frames, if it is given.
    frames: Option<u32>,
    out: PathBuf,
    contents: Contents,
    /// Widths and heights of the textures to compare.
    sides: Vec<u32>,
    plugin: CudaPlugin,
    compare: bool,
    rounds: u32,
    window: bool,
    resize: Option<[u32; 2]>,
}

#[allow(unsafe_code)] // A promise.
fn arguments() -> Result<Args> {
    let mut args = Args {
        frames: None,
        out: "out".into(),
        contents: Contents { side: SQUARES, particles: None, validate: false },
        sides: vec![SQUARES],
        plugin: CudaPlugin::default(),
        compare: false,
        rounds: 1,
        window: false,
        resize: None,
    };
    let (mut way, mut share_queue) = (CudaPlugin::default(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} takes a value"));
        match word.as_str() {
            "--frames" => args.frames = Some(value()?.parse()?),
            "--out" => args.out = value()?.into(),
            "--texture" => args.sides = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--particles" => args.contents.particles = Some(value()?.parse()?),
            "--way" => {
                way = match value()?.as_str() {
                    "auto" => CudaPlugin::default(),
                    "host" => CudaPlugin::host(),
                    "upload" => CudaPlugin::upload(),
                    other => bail!("--way is auto, host or upload, not {other}"),
                }
            }
            "--share-queue" => share_queue = true,
            "--compare" => args.compare = true,
            "--window" => args.window = true,
            "--resize" => {
                let size = value()?;
                let (width, height) = size.split_once('x').context("--resize is like 640x360")?;
                args.resize = Some([width.parse()?, height.parse()?]);
            }
            "--rounds" => args.rounds = value()?.parse()?,
            "--validate" => args.contents.validate = true,
            _ => bail!("what is {word}? There are\n  {USAGE}"),
        }
    }
    let refused = args.sides.iter().find(|side| **side == 0 || !side.is_multiple_of(SQUARES));
    ensure!(refused.is_none(), "--texture is a multiple of {SQUARES}, not {}", refused.unwrap_or(&0));
    ensure!(args.compare || args.sides.len() == 1, "several textures are for --compare");
    args.contents.side = args.sides[0];
    ensure!(!args.compare || !args.window, "--compare draws without a window");
    ensure!(args.resize.is_none() || args.window && args.frames.is_some(), "--resize is for --window with --frames");
    ensure!(args.resize.is_none() || args.frames >= Some(3), "--resize needs at least 3 frames");
    ensure!(args.frames != Some(0) && args.rounds > 0 && args.contents.particles != Some(0), "zero draws nothing");
    // SAFETY: this program runs all systems on one thread: Bevy is built without `multi_threaded`.
    args.plugin = if share_queue { unsafe { way.share_queue() } } else { way };
    Ok(args)
}

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,bevy_vk_cuda=info")).init();
    let args = arguments()?;
    if args.window {
        return in_window(args);
    }
    let frames = args.frames.unwrap_or(60);
    if args.compare {
        return args.sides.iter().try_for_each(|&side| {
            let contents = Contents { side, ..args.contents };
            compare::compare(&contents, &args.plugin, frames, args.rounds)
        });
    }
    let mut scene = Scene::new(&args.contents, args.plugin, None)?;
    let drawn = scene.draw(frames, Some(Pace::Free))?;
    let file = write(&args.out, scene.check()?)?;
    let (way, rate, [painted, moved]) = (scene.cuda().way(), drawn.rate, drawn.begun);
    println!("{way:?}: {frames} frames ({rate:.0} a second), {painted} painted, {moved} of particles: all right");
    println!("wrote {}", file.display());
    Ok(())
}

#[cfg(feature = "window")]
fn in_window(args: Args) -> Result<()> {
    let Args { frames, resize, contents, .. } = args;
    window::show(window::Show { contents, frames, resize }, args.plugin)
}

#[cfg(not(feature = "window"))]
fn in_window(_: Args) -> Result<()> {
    bail!("this program was built without windows; build it with `--features window`")
}

fn write(folder: &Path, picture: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("bevy_cube.png");
    let made = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(made), SIZE[0], SIZE[1]);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    // Additive blending does not change the alpha channel, which stays opaque.
    encoder.write_header()?.write_image_data(picture)?;
    Ok(file)
}
