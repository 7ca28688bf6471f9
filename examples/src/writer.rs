//! Writing of frames to disk, in parallel to the frame loop.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Error, Result, anyhow};
use png::{BitDepth, ColorType, Compression, Encoder};

use crate::animation::Animation;
use crate::files::{AtomicFile, cannot_write};

/// The number of frames that may be queued before the frame loop waits for a thread.
const QUEUE: usize = 3;
/// The maximum number of threads.
const THREADS: usize = 6;

/// Writes frames as `frame_0000.png`, `frame_0001.png`, … and collects them for an animation, on
/// its own threads. A frame gets its file name only when it is complete.
pub struct FrameWriter {
    jobs: Option<SyncSender<Job>>,
    spare: Receiver<Vec<u8>>,
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Job {
    frame: u64,
    rgba: Vec<u8>,
    keep: bool,
}

struct Shared {
    folder: PathBuf,
    size: [u32; 2],
    animation: Option<Animation>,
    jobs: Mutex<Receiver<Job>>,
    error: Mutex<Option<Error>>,
}

/// Returns the path of the file of frame `frame`.
pub fn frame_path(folder: &Path, frame: u64) -> PathBuf {
    folder.join(format!("frame_{frame:04}.png"))
}

impl FrameWriter {
    /// Creates a writer of frames of `size` pixels to the existing folder `folder`.
    pub fn new(folder: &Path, size: [u32; 2], animation: Option<Animation>) -> Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let (give_back, spare) = channel();
        let error = Mutex::new(None);
        let shared = Arc::new(Shared { folder: folder.to_owned(), size, animation, jobs: Mutex::new(queue), error });
        let threads = (thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, THREADS);
        let worker = |_| {
            let (shared, give_back) = (shared.clone(), give_back.clone());
            let name = thread::Builder::new().name("frame writer".into());
            name.spawn(move || shared.work(&give_back)).context("cannot start a thread that writes frames")
        };
        let workers = (0..threads).map(worker).collect::<Result<_>>()?;
        Ok(Self { jobs: Some(jobs), spare, workers, shared })
    }

    /// Returns `true` if frame `frame` is part of the animation.
    pub fn animates(&self, frame: u64) -> bool {
        self.shared.animation.as_ref().is_some_and(|animation| animation.wants(frame))
    }

    /// Returns a buffer to fill for [`write`](Self::write): the buffer of a frame that was written,
    /// if there is one.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_default()
    }

    /// Queues frame `frame`, RGBA8. It is written to a file if `keep` is set, and added to the
    /// animation in any case. Waits while all threads are busy.
    ///
    /// # Errors
    /// The first error of an earlier frame.
    pub fn write(&self, frame: u64, rgba: Vec<u8>, keep: bool) -> Result<()> {
        if let Some(error) = self.shared.take_error() {
            return Err(error);
        }
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(Job { frame, rgba, keep }));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.shared.take_error().unwrap_or_else(|| anyhow!("the threads that write frames have ended"))),
        }
    }

    /// Waits until all frames are on disk. Returns the animation, which is not written yet.
    pub fn finish(mut self) -> Result<Option<Animation>> {
        drop(self.jobs.take());
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| anyhow!("a thread that writes frames broke off"))?;
        }
        if let Some(error) = self.shared.take_error() {
            return Err(error);
        }
        Ok(Arc::into_inner(self.shared).and_then(|shared| shared.animation))
    }
}

impl Shared {
    fn work(&self, give_back: &Sender<Vec<u8>>) {
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            match self.write(&job) {
                // The frame loop may have ended; the buffer is not needed then.
                Ok(()) => drop(give_back.send(job.rgba)),
                Err(error) => *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
        }
    }

    fn write(&self, job: &Job) -> Result<()> {
        let [width, height] = self.size;
        if let Some(animation) = &self.animation {
            animation.add(job.frame, &job.rgba, width, height)?;
        }
        if job.keep {
            write_png(&frame_path(&self.folder, job.frame), &job.rgba, self.size)?;
        }
        Ok(())
    }

    fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Writes opaque RGBA8 pixels as an RGB PNG.
pub fn write_png(path: &Path, rgba: &[u8], size: [u32; 2]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let rgb: Vec<u8> = rgba.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    let mut encoder = Encoder::new(&mut file, size[0], size[1]);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&rgb)?;
        writer.finish()
    });
    written.map_err(|error| cannot_write(path, error))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_completely_and_read_back_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let writer = FrameWriter::new(folder.path(), [5, 3], None).unwrap();
        let picture = |frame: u64| (0..60).map(|i| if i % 4 == 3 { 255 } else { (i * 7 + frame) as u8 }).collect();
        for frame in 0..9 {
            let pixels: Vec<u8> = picture(frame);
            let mut buffer = writer.buffer();
            buffer.clear();
            buffer.extend(&pixels);
            writer.write(frame, buffer, frame != 4).unwrap();
        }
        assert!(writer.finish().unwrap().is_none());
        for frame in 0..9 {
            let read = crate::picture::Picture::open(&frame_path(folder.path(), frame));
            match read {
                Ok(read) => assert_eq!(read.pixels, picture(frame)),
                Err(_) => assert_eq!(frame, 4),
            }
        }
    }

    #[test]
    fn an_error_reaches_the_frame_loop() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let writer = FrameWriter::new(&gone, [1, 1], None).unwrap();
        writer.write(0, vec![0; 4], true).unwrap();
        let error = format!("{:#}", writer.finish().map(|_| ()).unwrap_err());
        assert!(error.contains("frame_0000.png"), "{error}");
    }
}
