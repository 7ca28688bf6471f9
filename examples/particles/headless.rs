//! A run without a window: frames to files, and the checks.
#![allow(unsafe_code)] // Frames borrow read-back buffers until they are done.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use bridge::vk_export::LocalBuffer;
use bridge::{OpenInfo, SubmitInfo};
use bridge_examples::animation::Animation;
use bridge_examples::files::prepare_folder;
use bridge_examples::interrupt::Interrupt;
use bridge_examples::particles::check::{LEAST_HOME, Replay, compare_drawn, compare_pictures};
use bridge_examples::particles::options::Options;
use bridge_examples::particles::particle::Particle;
use bridge_examples::particles::summary::{Check, PROGRAM, State, Summary};
use bridge_examples::picture::Picture;
use bridge_examples::progress::Progress;
use bridge_examples::writer::FrameWriter;

use crate::demo::{Demo, InFlight};
use crate::render::Wanted;

/// Up to this many bytes of particles, more frames than the last one are checked.
const CHECK_MORE: u64 = 256 << 20;

/// A frame to be checked, when the run is over.
struct Sample {
    particles: LocalBuffer,
    picture: Vec<u8>,
}

/// Makes all frames.
pub(crate) fn run(options: &Options) -> Result<Summary> {
    prepare_folder(&options.out, PROGRAM)?;
    let picture = options.image.as_deref().map(Picture::open).transpose()?;
    let interrupt = Interrupt::install()?;
    let frames = u64::from(options.story());
    // Before the demo, so that it is dropped after it: frames in flight may write to it.
    let mut samples = BTreeMap::new();
    let mut demo = Demo::new(options, picture, &OpenInfo::default())?;
    crate::announce(options, &demo);
    fill(&mut samples, &demo, frames)?;
    let animation = (!options.no_animation && frames > 1).then(|| Animation::new(demo.size, frames, &options.out));
    let writer = FrameWriter::new(&options.out, demo.size, animation.transpose()?)?;
    let mut progress = Progress::new(Some(frames), "frames");
    let mut pictures = 0;

    let begun = Instant::now();
    let mut deliver = |demo: &Demo, samples: &mut BTreeMap<u64, Sample>, done: InFlight| -> Result<()> {
        progress.at(done.frame + 1);
        let keep = options.keeps(done.frame, frames);
        let sample = samples.get_mut(&done.frame);
        if !keep && sample.is_none() && !writer.animates(done.frame) {
            return Ok(());
        }
        let rgba = demo.renderer.picture(done.slot)?;
        if let Some(sample) = sample {
            rgba.clone_into(&mut sample.picture);
        }
        let mut buffer = writer.buffer();
        rgba.clone_into(&mut buffer);
        pictures += u64::from(keep);
        writer.write(done.frame, buffer, keep)
    };
    while demo.frames() < frames && !interrupt.is_set() {
        if let Some(done) = demo.make_room()? {
            deliver(&demo, &mut samples, done)?;
        }
        let frame = demo.frames();
        let sample = samples.get(&frame);
        let picture = sample.is_some() || options.keeps(frame, frames) || writer.animates(frame);
        let wanted = Wanted { picture, particles: sample.map(|sample| &sample.particles), window: None };
        // SAFETY: the buffer lives until the end of this function, after all frames, and is read after them.
        unsafe { demo.frame(wanted, SubmitInfo::default()) }?;
    }
    while let Some(done) = demo.finish_oldest()? {
        deliver(&demo, &mut samples, done)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    let interrupted = demo.frames() < frames;

    let animation = writer.finish()?.filter(|_| !interrupted);
    let animated = animation.is_some();
    if let Some(animation) = animation {
        animation.write(&options.out.join("animation.gif"))?;
    }
    let checks = if interrupted { vec![] } else { check(&demo, samples)? };
    let mut summary = crate::summary(options, &demo, seconds);
    summary.frames_asked = Some(frames);
    summary.pictures = pictures;
    summary.animation = animated;
    summary.checks.splice(0..0, checks);
    summary.out = Some(options.out.clone());
    summary.state = match (summary.error(), interrupted) {
        (Some(_), _) => State::Failed,
        (None, true) => State::Interrupted,
        (None, false) => State::Complete,
    };
    summary.write(&options.out)?;
    Ok(summary)
}

/// Chooses the frames to check, and makes a place for the particles of each.
fn fill(samples: &mut BTreeMap<u64, Sample>, demo: &Demo, frames: u64) -> Result<()> {
    let bytes = u64::from(demo.scene.particles()) * size_of::<Particle>() as u64;
    let first = if bytes <= CHECK_MORE { [0, frames / 2] } else { [frames - 1; 2] };
    for frame in first.into_iter().chain([frames - 1]) {
        samples.insert(frame, Sample { particles: demo.particle_buffer()?, picture: vec![] });
    }
    Ok(())
}

/// Goes through all frames again, and looks at those that were kept.
fn check(demo: &Demo, samples: BTreeMap<u64, Sample>) -> Result<Vec<Check>> {
    let scene = &demo.scene;
    let mut replay = Replay::new(&scene.bodies());
    let mut checks = vec![];
    let last = samples.keys().next_back().copied().unwrap_or_default();
    for frame in 0..=last {
        replay.advance(&scene.step(frame));
        let Some(sample) = samples.get(&frame) else { continue };
        let bytes = sample.particles.bytes().context("the read-back memory of the particles is not mapped")?;
        let particles = bytemuck::try_cast_slice(bytes).map_err(|error| anyhow::anyhow!("particles: {error}"))?;
        checks.push(match replay.compare(frame, particles) {
            Ok(count) => Check { frame, kind: "data", particles: Some(count), psnr: None, error: None },
            Err(error) => Check { frame, kind: "data", particles: None, psnr: None, error: Some(format!("{error:#}")) },
        });
        let mut compared = |kind, (psnr, result): (f64, Result<()>)| {
            let error = result.err().map(|error| format!("{error:#}"));
            checks.push(Check { frame, kind, particles: None, psnr: Some(psnr), error });
        };
        let view = scene.view(frame, demo.size, demo.point_limit);
        compared("picture", compare_drawn(frame, scene, &view, demo.size, particles, &sample.picture));
        if let Some(reference) = scene.reference().filter(|_| frame == 0 || frame == last) {
            let what = "the picture that it was made of";
            compared("reference", compare_pictures(frame, what, &sample.picture, &reference, LEAST_HOME));
        }
    }
    Ok(checks)
}
