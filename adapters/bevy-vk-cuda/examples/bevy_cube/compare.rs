//! The same scene in three variants, in one run: with static textures and buffers, with shared
//! frames, and with the same frames uploaded from the host.

use anyhow::{Result, ensure};
use bevy_vk_cuda::{CudaPlugin, Way};

use crate::pace::Pace;
use crate::scene::{Contents, SIZE, Scene};

/// Results of one variant, with rates in Bevy's frames per second.
#[derive(Default)]
struct Rates {
    all: Vec<f32>,
    shown: [u64; 2],
}

impl Rates {
    fn median(&self) -> f32 {
        let mut sorted = self.all.clone();
        sorted.sort_by(f32::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn text(&self) -> String {
        let all: Vec<_> = self.all.iter().map(|rate| format!("{rate:.1}")).collect();
        format!("{} frames a second", all.join(", "))
    }
}

/// Draws, checks and prints the comparison. If the simulations run, each of Bevy's frames has a new
/// frame of both.
pub(crate) fn compare(contents: &Contents, plugin: &CudaPlugin, frames: u32, rounds: u32) -> Result<()> {
    let (mut still, mut shared, mut uploaded) = (Rates::default(), Rates::default(), Rates::default());
    let (mut contents, mut way, mut gpu) = (*contents, Way::Upload, None);
    for _ in 0..rounds {
        for (rates, pace) in [(&mut still, None), (&mut shared, Some(Pace::EachFrame))] {
            let mut scene = Scene::new(&contents, plugin.clone(), None)?;
            let cuda = scene.cuda();
            way = cuda.way();
            ensure!(
                way != Way::Upload,
                "nothing is shared here, so that there is nothing to compare: {}",
                cuda.reason()
            );
            gpu = cuda.compute().and_then(|compute| compute.cuda()).map(|cuda| cuda.device().clone());
            // The uploaded variant has the same number of particles.
            contents.particles = Some(scene.particles()?);
            measure(&mut scene, rates, frames, pace)?;
        }
        let mut scene = Scene::new(&contents, CudaPlugin::upload(), gpu.as_ref())?;
        measure(&mut scene, &mut uploaded, frames, Some(Pace::EachFrame))?;
    }
    let (side, particles, [width, height]) = (contents.side, contents.particles.unwrap_or_default(), SIZE);
    let bytes = 4 * u64::from(side) * u64::from(side) + 16 * u64::from(particles);
    println!(
        "{way:?}: a texture of {side}x{side} and {particles} particles, {:.1} MB in each frame;",
        bytes as f64 / 1e6
    );
    println!("{rounds} times {frames} frames of {width}x{height} in each way, all checked");
    println!("  still:    {}", still.text());
    for (name, rates) in [("shared:  ", &shared), ("uploaded:", &uploaded)] {
        let all = u64::from(frames) * u64::from(rounds);
        let [texture, particles] = rates.shown;
        let ratio = rates.median() / still.median();
        println!("  {name} {}, {ratio:.3} of still; of {all} frames", rates.text());
        println!("            {texture} have another texture than the one before, {particles} other particles");
    }
    println!("  shared to uploaded: {:.3}", shared.median() / uploaded.median());
    println!(
        "uploaded: {} computes the same frames on threads of their own{}; Bevy's thread hands them to \
         `write_texture` and `write_buffer`",
        if gpu.is_some() { "CUDA" } else { "the CPU" },
        if gpu.is_some() { ", which copy them to page-locked memory of the host and from there to Bevy's" } else { "" },
    );
    Ok(())
}

fn measure(scene: &mut Scene, rates: &mut Rates, frames: u32, pace: Option<Pace>) -> Result<()> {
    let drawn = scene.draw(frames, pace)?;
    let expected = if pace.is_some() { u64::from(frames) } else { 0 };
    ensure!(drawn.begun == [expected; 2], "{frames} frames were drawn, and {:?} begun", drawn.begun);
    scene.check()?;
    rates.all.push(drawn.rate);
    rates.shown.iter_mut().zip(drawn.shown).for_each(|(all, shown)| *all += shown);
    Ok(())
}
