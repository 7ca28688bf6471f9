//! A run without a window: frames to files, and the checks.
#![allow(unsafe_code)] // Frames borrow read-back buffers until they are done.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use bridge::{OpenInfo, SubmitInfo};

use super::frames::{Frames, InFlight};
use super::{Demo, Sample};
use crate::animation::Animation;
use crate::files::prepare_folder;
use crate::gpu::output::{Wanted, read_back};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::summary::{State, Summary};
use crate::writer::FrameWriter;

/// Runs all frames.
pub(super) fn run<D: Demo>(all: &D::Options) -> Result<Summary<D::Figures>> {
    let options = all.as_ref();
    let out = options.out(D::PROGRAM);
    prepare_folder(&out, D::PROGRAM)?;
    let interrupt = Interrupt::install()?;
    let frames = u64::from(options.story());
    // Declared before the demo, so that it is dropped after it: frames in flight may write to it.
    let mut samples = BTreeMap::new();
    let mut run = Frames::new(D::new(all, &OpenInfo::default())?, options.slots);
    super::announce(&run.demo);
    make_room_for(&mut samples, &run.demo, frames)?;
    let size = options.extent();
    let animation = (!options.no_animation && frames > 1).then(|| Animation::new(size, frames, &out));
    let writer = FrameWriter::new(&out, size, animation.transpose()?)?;
    let mut progress = Progress::new(Some(frames), "frames");
    let mut pictures = 0;

    let begun = Instant::now();
    let mut deliver = |demo: &D, samples: &mut BTreeMap<u64, Sample>, done: InFlight| -> Result<()> {
        progress.at(done.frame + 1);
        let keep = options.keeps(done.frame, frames);
        let sample = samples.get_mut(&done.frame);
        if !keep && sample.is_none() && !writer.animates(done.frame) {
            return Ok(());
        }
        // SAFETY: the frame is done, and the next frame in its slot begins only after this.
        let rgba = unsafe { demo.picture(done.slot) }?;
        if let Some(sample) = sample {
            rgba.clone_into(&mut sample.picture);
        }
        let mut buffer = writer.buffer();
        rgba.clone_into(&mut buffer);
        pictures += u64::from(keep);
        writer.write(done.frame, buffer, keep)
    };
    while run.count() < frames && !interrupt.is_set() {
        if let Some(done) = run.make_room()? {
            deliver(&run.demo, &mut samples, done)?;
        }
        let frame = run.count();
        let sample = samples.get(&frame);
        let picture = sample.is_some() || options.keeps(frame, frames) || writer.animates(frame);
        let wanted = Wanted { picture, sample: sample.map(|sample| &sample.data), window: None };
        // SAFETY: the buffer lives until the end of this function, after all frames, and is read
        // only after they are done.
        unsafe { run.begin(wanted, SubmitInfo::default()) }?;
    }
    while let Some(done) = run.finish_oldest()? {
        deliver(&run.demo, &mut samples, done)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    progress.finish();
    let interrupted = run.count() < frames;

    let animation = writer.finish()?.filter(|_| !interrupted);
    let animated = animation.is_some();
    if let Some(animation) = animation {
        animation.write(&out.join("animation.gif"))?;
    }
    let checks = if interrupted { vec![] } else { run.demo.check(&samples)? };
    let mut summary = super::summary(options, &run, seconds);
    summary.frames_asked = Some(frames);
    summary.pictures = pictures;
    summary.animation = animated;
    summary.checks.splice(0..0, checks);
    summary.state = match (summary.error(), interrupted) {
        (Some(_), _) => State::Failed,
        (None, true) => State::Interrupted,
        (None, false) => State::Complete,
    };
    summary.out = Some(out.clone());
    summary.write(&out)?;
    Ok(summary)
}

/// Allocates a buffer for the shared data of every frame that is checked.
fn make_room_for<D: Demo>(samples: &mut BTreeMap<u64, Sample>, demo: &D, frames: u64) -> Result<()> {
    let (sampled, bytes) = demo.samples(frames);
    for frame in sampled {
        let data = read_back(demo.compute().device(), &format!("sample of frame {frame}"), bytes)?;
        samples.insert(frame, Sample { data, picture: vec![] });
    }
    Ok(())
}
