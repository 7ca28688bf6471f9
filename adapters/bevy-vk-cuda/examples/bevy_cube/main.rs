//! A cube that CUDA paints, and a million particles that CUDA moves, or fewer on the CPU, in a
//! scene of Bevy's.
//!
//! `cargo run --example bevy_cube -- --frames 60 --out out` draws without a window, writes the last
//! picture and checks it: texture and particles bit for bit, and the picture of the cube texel for
//! texel.

mod cube;
mod swarm;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bevy::camera::RenderTarget;
use bevy::core_pipeline::tonemapping::Tonemapping;
use bevy::prelude::*;
use bevy::render::gpu_readback::{Readback, ReadbackComplete};
use bevy::render::render_resource::{TextureFormat, TextureUsages};
use bevy::render::renderer::RenderDevice;
use bevy::render::settings::{InstanceFlags, WgpuSettings};
use bevy::render::{RenderApp, RenderPlugin};
use bevy_vk_cuda::{Cuda, CudaPlugin, CudaSystems, Way};
use cube::{Painting, TEXELS};
use swarm::{Particle, Swarm};

const SIZE: [u32; 2] = [960, 540];

/// Frames that are drawn before those that are counted.
const WARM_UP: u32 = 3;

const USAGE: &str = "\
    --frames N      how many are drawn and timed (60)\n  \
    --out DIR       where the picture goes (out)\n  \
    --particles N   (1000000 with CUDA, 20000 else)\n  \
    --way NAME      auto, host (the CPU computes, frames are copied as with CUDA) or upload (auto)\n  \
    --share-queue   on devices with one queue, copies are submitted to Bevy's\n  \
    --still         the simulations stop after their first frames, to compare rates\n  \
    --constant      the particles stand still: the CPU computes them once, and uploads them each time\n  \
    --validate      with the validation layer";

struct Args {
    frames: u32,
    out: PathBuf,
    particles: Option<u32>,
    plugin: CudaPlugin,
    still: bool,
    constant: bool,
    validate: bool,
}

#[allow(unsafe_code)] // A promise.
fn arguments() -> Result<Args> {
    let mut args = Args {
        frames: 60,
        out: "out".into(),
        particles: None,
        plugin: CudaPlugin::default(),
        still: false,
        constant: false,
        validate: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} takes a value"));
        match word.as_str() {
            "--frames" => args.frames = value()?.parse()?,
            "--out" => args.out = value()?.into(),
            "--particles" => args.particles = Some(value()?.parse()?),
            "--way" => {
                args.plugin = match value()?.as_str() {
                    "auto" => CudaPlugin::default(),
                    "host" => CudaPlugin::host(),
                    "upload" => CudaPlugin::upload(),
                    other => bail!("--way is auto, host or upload, not {other}"),
                }
            }
            // SAFETY: this program runs all systems on one thread: Bevy is built without
            // `multi_threaded`.
            "--share-queue" => args.plugin = unsafe { args.plugin.share_queue() },
            "--still" => args.still = true,
            "--constant" => args.constant = true,
            "--validate" => args.validate = true,
            _ => bail!("what is {word}? There are\n  {USAGE}"),
        }
    }
    Ok(args)
}

/// Results that are read back: the camera's picture, the cube's texture, the particles.
#[derive(Resource, Default)]
struct Seen {
    picture: Vec<u8>,
    texture: Vec<u8>,
    particles: Vec<u8>,
}

fn main() -> Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,bevy_vk_cuda=info")).init();
    let args = arguments()?;
    let flags = if args.validate { InstanceFlags::debugging() } else { InstanceFlags::empty() };
    let settings = WgpuSettings { instance_flags: flags, ..Default::default() };
    let mut app = App::new();
    // Before Bevy's plugins: it adds to what the device is created with.
    app.add_plugins(args.plugin);
    let render =
        RenderPlugin { render_creation: settings.into(), synchronous_pipeline_compilation: true, ..Default::default() };
    let window = WindowPlugin { primary_window: None, ..Default::default() };
    app.add_plugins(DefaultPlugins.set(window).set(render)).add_plugins(swarm::plugin).init_resource::<Seen>();
    app.add_systems(Update, (cube::paint, swarm::simulate).in_set(CudaSystems).run_if(resource_exists::<Running>));
    app.finish();
    app.cleanup();

    let way = app.world().resource::<Cuda>().way();
    let particles = args.particles.unwrap_or(if way == Way::Cuda { 1_000_000 } else { 20_000 });
    cube::spawn(app.world_mut(), cube_place())?;
    let tilted =
        Transform::from_xyz(1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_x(-0.9)).with_scale(Vec3::splat(2.0));
    swarm::spawn(app.world_mut(), particles, tilted, args.constant)?;
    let target = camera(&mut app);

    app.insert_resource(Running);
    // The first frames compile pipelines, and begin the simulations.
    (0..WARM_UP).for_each(|_| app.update());
    if args.still {
        app.world_mut().remove_resource::<Running>();
    }
    finish(&app)?;
    let start = Instant::now();
    (0..args.frames).for_each(|_| app.update());
    finish(&app)?;
    let seconds = start.elapsed().as_secs_f32();
    app.world_mut().remove_resource::<Running>();
    // What was written last comes, with the CPU maybe some frames later.
    readers(&mut app, target)?;
    let end = Instant::now() + Duration::from_secs(60);
    while let Err(error) = whole(&mut app) {
        if Instant::now() > end {
            return Err(error.context("the last frame never came"));
        }
        app.update();
    }
    // The picture with the last frame of both is read back a few frames later.
    (0..8).for_each(|_| app.update());
    let file = write(&args.out, &app.world().resource::<Seen>().picture)?;
    check_cube(&mut app)?;
    check_lights(&app)?;
    let (painted, moved) = frames(&mut app)?;
    let rate = args.frames as f32 / seconds;
    println!(
        "{way:?}: {} frames ({rate:.0} a second), {painted} painted, {moved} of particles: all right",
        args.frames
    );
    println!("wrote {}", file.display());
    Ok(())
}

/// Waits until the GPU has drawn everything, for at most ten seconds.
fn finish(app: &App) -> Result<()> {
    let render = app.get_sub_app(RenderApp).context("Bevy renders nothing")?;
    let limit = wgpu::PollType::Wait { submission_index: None, timeout: Some(Duration::from_secs(10)) };
    render.world().resource::<RenderDevice>().poll(limit)?;
    Ok(())
}

/// There while the simulations run.
#[derive(Resource)]
struct Running;

fn cube_place() -> Transform {
    Transform::from_xyz(-1.9, 0.0, 0.0).with_rotation(Quat::from_rotation_y(0.35) * Quat::from_rotation_x(0.25))
}

/// A camera that draws into an image.
fn camera(app: &mut App) -> Handle<Image> {
    let mut target = Image::new_target_texture(SIZE[0], SIZE[1], TextureFormat::Rgba8UnormSrgb, None);
    target.texture_descriptor.usage |= TextureUsages::COPY_SRC;
    let target = app.world_mut().resource_mut::<Assets<Image>>().add(target);
    app.world_mut().spawn((
        Camera3d::default(),
        Camera { clear_color: ClearColorConfig::Custom(Color::BLACK), ..Default::default() },
        RenderTarget::Image(target.clone().into()),
        Tonemapping::None,
        Msaa::Off,
        Transform::from_xyz(0.0, 0.0, 6.5).looking_at(Vec3::ZERO, Vec3::Y),
    ));
    target
}

fn readers(app: &mut App, target: Handle<Image>) -> Result<()> {
    let world = app.world_mut();
    let painting = world.query::<&Painting>().single(world)?.image.handle().clone();
    let particles = world.query::<&Swarm>().single(world)?.buffer.handle().clone();
    world
        .spawn(Readback::texture(target))
        .observe(|event: On<'_, '_, ReadbackComplete>, mut seen: ResMut<'_, Seen>| seen.picture = event.data.clone());
    world
        .spawn(Readback::texture(painting))
        .observe(|event: On<'_, '_, ReadbackComplete>, mut seen: ResMut<'_, Seen>| seen.texture = event.data.clone());
    world
        .spawn(Readback::buffer(particles))
        .observe(|event: On<'_, '_, ReadbackComplete>, mut seen: ResMut<'_, Seen>| seen.particles = event.data.clone());
    Ok(())
}

/// The number of frames written of the texture and of the particles.
fn frames(app: &mut App) -> Result<(u32, u32)> {
    let world = app.world_mut();
    Ok((world.query::<&Painting>().single(world)?.frames, world.query::<&Swarm>().single(world)?.frames))
}

/// Texture and particles are those of the last frames, bit for bit.
fn whole(app: &mut App) -> Result<()> {
    let world = app.world_mut();
    let frame = world.query::<&Painting>().single(world)?.frames;
    let expected = swarm::expected(world.query::<&Swarm>().single(world)?);
    ensure!(frame > 0, "nothing was painted");
    let seen = world.resource::<Seen>();
    let texels = (0..TEXELS * TEXELS).flat_map(|at| cube::texel(at % TEXELS, at / TEXELS, frame));
    ensure!(texels.eq(seen.texture.iter().copied()), "the texture is not that of frame {frame}");
    let particles: Vec<Particle> = bytemuck::pod_collect_to_vec(&seen.particles);
    if let Some(wrong) = expected.zip(&particles).position(|(expected, seen)| expected != *seen) {
        bail!("particle {wrong} is wrong");
    }
    ensure!(!particles.is_empty() && !seen.picture.is_empty(), "nothing was read back");
    Ok(())
}

/// A texel of the picture, by column and row.
fn pixel(picture: &[u8], [x, y]: [u32; 2]) -> Option<&[u8]> {
    picture.chunks_exact(4).nth((y * SIZE[0] + x) as usize).map(|texel| &texel[..3])
}

/// In the picture, the front of the cube shows its texture: at the middle of each texel is its
/// colour.
fn check_cube(app: &mut App) -> Result<()> {
    let frame = frames(app)?.0;
    let world = app.world_mut();
    let (camera, place) = world.query::<(&Camera, &GlobalTransform)>().single(world)?;
    let picture = &world.resource::<Seen>().picture;
    let mut right = 0;
    for at in 0..TEXELS * TEXELS {
        let [x, y] = [at % TEXELS, at / TEXELS];
        let [u, v] = [x, y].map(|at| (at as f32 + 0.5) / TEXELS as f32 * 2.0 - 1.0);
        let seen = camera.world_to_viewport(place, cube_place().transform_point(Vec3::new(u, v, 1.0)))?;
        let expected = &cube::texel(x, y, frame)[..3];
        let seen = pixel(picture, [seen.x as u32, seen.y as u32]).context("the cube is outside of the picture")?;
        right += u32::from(seen.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
    // Particles may shine before the cube.
    ensure!(right > TEXELS * TEXELS * 95 / 100, "{right} of {} texels of the cube are right", TEXELS * TEXELS);
    Ok(())
}

/// There is light where the particles are, and dark in the corners.
fn check_lights(app: &App) -> Result<()> {
    let picture = &app.world().resource::<Seen>().picture;
    let lit = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
        let all = x.len() * y.len();
        let lit = y.flat_map(|y| x.clone().map(move |x| [x, y])).filter(|at| pixel(picture, *at) != Some(&[0; 3]));
        lit.count() * 100 / all
    };
    let (particles, corner) = (lit(600..820, 200..340), lit(0..60, 0..60));
    ensure!(particles > 30 && corner == 0, "{particles}% lit where the particles are, {corner}% in the corner");
    Ok(())
}

fn write(folder: &Path, picture: &[u8]) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("bevy_cube.png");
    let made = std::fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(made), SIZE[0], SIZE[1]);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    // Added light leaves the alpha channel as it was: opaque.
    encoder.write_header()?.write_image_data(picture)?;
    Ok(file)
}
