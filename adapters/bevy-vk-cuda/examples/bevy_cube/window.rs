//! The scene in a window.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bevy::asset::AssetPlugin;
use bevy::prelude::*;
use bevy::render::view::screenshot::{Screenshot, ScreenshotCaptured};
use bevy::window::{PrimaryWindow, WindowResolution};
use bevy_vk_cuda::{Cuda, CudaPlugin};
use bevy_winit::WinitPlugin;

use crate::check;
use crate::pace::Pace;
use crate::scene::{self, Contents, SIZE, Seen};

/// The timeout of the last frame's arrival, and of the window's last size.
const LIMIT: Duration = Duration::from_secs(60);

/// The number of Bevy's frames after which the picture contains what has arrived.
const SETTLE: u32 = 8;

/// What a window shows, and for how long.
#[derive(Resource, Clone, Copy)]
pub(crate) struct Show {
    pub(crate) contents: Contents,
    /// The number of frames; `None` for as many as there are until the window is closed.
    pub(crate) frames: Option<u32>,
    /// The size of the window in the second third of the frames.
    pub(crate) resize: Option<[u32; 2]>,
}

/// The progress of a window that closes by itself.
#[derive(Resource)]
enum Stage {
    /// This many frames were drawn.
    Drawing(u32),
    /// The simulations have stopped, and their last frames were read back this many frames ago.
    Settling { since: Instant, frames: u32 },
    /// The picture was requested.
    Picturing { since: Instant },
}

/// A picture of the window, with its size.
#[derive(Resource, Default)]
struct Picture(Option<Result<([u32; 2], Vec<u8>)>>);

/// Set once the last frame was checked: the app has no value that outlives it.
#[derive(Resource)]
struct Checked(Arc<AtomicBool>);

/// Shows the scene in a window until it is closed. With a number of frames, it is closed after
/// them, and the last ones are checked as without a window.
pub(crate) fn show(show: Show, plugin: CudaPlugin) -> Result<()> {
    let checked = Arc::new(AtomicBool::new(false));
    let window = Window { title: "bevy_cube".to_owned(), resolution: resolution(SIZE), ..Default::default() };
    // Bevy's default features include the plugin that opens windows; this crate compiles without.
    let mut app = scene::app(&show.contents, plugin, Some(window), |plugins| {
        plugins.add_after::<AssetPlugin>(WinitPlugin::default())
    });
    app.insert_resource(show).insert_resource(Pace::Free).insert_resource(Stage::Drawing(0));
    app.insert_resource(Checked(Arc::clone(&checked))).init_resource::<Picture>();
    app.add_systems(Startup, set_up);
    if show.frames.is_some() {
        app.add_systems(Last, end);
    }
    match app.run() {
        AppExit::Success => {
            let early = show.frames.is_some() && !checked.load(Ordering::Relaxed);
            ensure!(!early, "the window was closed before the last frame was checked");
            Ok(())
        }
        AppExit::Error(_) => bail!("the window was closed after an error, see the log"),
    }
}

fn resolution([width, height]: [u32; 2]) -> WindowResolution {
    WindowResolution::new(width, height).with_scale_factor_override(1.0)
}

/// Creates the scene. In `Startup`, Bevy has its device, and the plugin has adopted it.
fn set_up(world: &mut World) -> Result<(), BevyError> {
    let contents = world.resource::<Show>().contents;
    scene::spawn(world, &contents, None)?;
    scene::camera(world, None);
    Ok(())
}

/// Ends the program after the last frame, or after an error.
fn end(world: &mut World) {
    match go_on(world) {
        Ok(false) => return,
        Ok(true) => world.write_message(AppExit::Success),
        Err(error) => {
            log::error!("{error:#}");
            world.write_message(AppExit::error())
        }
    };
}

/// Takes the next step after a frame of Bevy's, and returns `true` after the last one.
fn go_on(world: &mut World) -> Result<bool> {
    let Show { frames: Some(all), resize, .. } = *world.resource::<Show>() else { return Ok(false) };
    let stage = match *world.resource::<Stage>() {
        Stage::Drawing(frames) if frames < all => {
            let size = resize.and_then(|size| {
                let middle = all / 3..all - all / 3;
                (frames == middle.start).then_some(size).or((frames == middle.end).then_some(SIZE))
            });
            if let Some(size) = size {
                window(world)?.resolution = resolution(size);
            }
            Stage::Drawing(frames + 1)
        }
        Stage::Drawing(_) => {
            world.remove_resource::<Pace>();
            scene::read_back(world, None)?;
            Stage::Settling { since: Instant::now(), frames: 0 }
        }
        Stage::Settling { since, frames } => match check::whole(world) {
            Ok(()) if frames == SETTLE => {
                world.spawn(Screenshot::primary_window()).observe(take_picture);
                Stage::Picturing { since }
            }
            Ok(()) => Stage::Settling { since, frames: frames + 1 },
            Err(error) if since.elapsed() > LIMIT => return Err(error.context("the last frame never came")),
            Err(_) => Stage::Settling { since, frames },
        },
        Stage::Picturing { since } => {
            let picture = world.resource_mut::<Picture>().0.take();
            match picture.transpose()? {
                Some((size, picture)) if size == SIZE => world.resource_mut::<Seen>().picture = picture,
                // The window system changes the size later than it is asked to.
                Some((size, _)) if since.elapsed() > LIMIT => {
                    bail!("the window has {size:?} texels, not {SIZE:?}");
                }
                Some(_) => {
                    world.spawn(Screenshot::primary_window()).observe(take_picture);
                    return Ok(false);
                }
                None => {
                    ensure!(since.elapsed() < 2 * LIMIT, "no picture of the window came");
                    return Ok(false);
                }
            }
            check::cube(world)?;
            check::lights(world)?;
            world.resource::<Checked>().0.store(true, Ordering::Relaxed);
            println!("{:?}: {all} frames in a window: all right", world.resource::<Cuda>().way());
            return Ok(true);
        }
    };
    world.insert_resource(stage);
    Ok(false)
}

fn take_picture(event: On<'_, '_, ScreenshotCaptured>, mut taken: ResMut<'_, Picture>) {
    let picture = event.image.clone().try_into_dynamic().map(|picture| picture.into_rgba8());
    let picture = picture.context("the picture of the window has another format");
    taken.0 = Some(picture.map(|picture| (picture.dimensions().into(), picture.into_raw())));
}

fn window(world: &mut World) -> Result<Mut<'_, Window>> {
    let mut windows = world.query_filtered::<&mut Window, With<PrimaryWindow>>();
    windows.single_mut(world).context("there is no window")
}
