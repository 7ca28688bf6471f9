//! Semaphores and marks: their signals and waits, and the contents that must be visible after each
//! signal.

use std::ops::Range;
use std::sync::Arc;

use cuda_import::{Error, ImportedSemaphore, SemaphoreKind, StreamEvent, query, record_event, signal_one, wait_one};

use crate::op::MarkOp;
use crate::outcome::Outcome;
use crate::world::World;

/// Maximum number of objects of each kind in a case.
const MAX_OBJECTS: usize = 8;

pub(crate) struct Timeline {
    /// `None` once it was dropped.
    pub(crate) semaphore: Option<ImportedSemaphore>,
    pub(crate) number: u64,
    /// The stream that signals it; `None` for the exporting side.
    pub(crate) by: Option<usize>,
    /// The highest value for which a signal was enqueued.
    pub(crate) submitted: u64,
    /// Number of graphs that use it.
    pub(crate) graphs: usize,
}

pub(crate) struct Binary {
    /// `None` once it was dropped.
    pub(crate) semaphore: Option<ImportedSemaphore>,
    number: u64,
    /// `true` if a signal was enqueued, but no wait for it.
    signaled: bool,
}

pub(crate) struct Mark {
    /// `None` once it was dropped.
    pub(crate) mark: Option<StreamEvent>,
}

/// Conditions that hold once a timeline has reached a value.
pub(crate) struct Expected {
    number: u64,
    value: u64,
    /// Timeline values that must have been reached before.
    after: Vec<(u64, u64)>,
    /// Expected words, each with its memory and range.
    contents: Vec<(usize, Range<usize>, Vec<Option<u32>>)>,
}

impl World<'_> {
    pub(crate) fn timeline(&mut self, by: Option<u8>) -> Option<Outcome> {
        if self.timelines.len() >= MAX_OBJECTS {
            return None;
        }
        let exported = self.double.export_semaphore(true);
        let number = exported.number;
        // SAFETY: a timeline of the double.
        let made =
            unsafe { ImportedSemaphore::import(&self.device, exported.handle, SemaphoreKind::Timeline, "timeline") };
        let by = by.map(|stream| self.stream(stream).0);
        let result = made.map(|semaphore| {
            let semaphore = Some(semaphore);
            self.timelines.push(Timeline { semaphore, number, by, submitted: 0, graphs: 0 });
        });
        Some(Outcome::new("timelines", result))
    }

    /// Returns a live timeline that satisfies `is`.
    pub(crate) fn find_timeline(&self, timeline: u8, is: impl Fn(&Timeline) -> bool) -> Option<usize> {
        let fits = |&which: &usize| self.timelines[which].semaphore.is_some() && is(&self.timelines[which]);
        let alive: Vec<_> = (0..self.timelines.len()).filter(fits).collect();
        alive.get(usize::from(timeline).checked_rem(alive.len())?).copied()
    }

    pub(crate) fn submit(&mut self, timeline: u8) -> Option<Outcome> {
        let which = self.find_timeline(timeline, |timeline| timeline.by.is_none())?;
        let timeline = &mut self.timelines[which];
        timeline.submitted += 1;
        self.gates.submit(self.double, timeline.number, timeline.submitted);
        Some(Outcome::ok("signals of the exporting side"))
    }

    pub(crate) fn wait(&mut self, timeline: u8, stream: u8) -> Option<Outcome> {
        let which = self.find_timeline(timeline, |_| true)?;
        let (stream, on) = self.stream(stream);
        let Timeline { semaphore, number, submitted, .. } = &self.timelines[which];
        // SAFETY: its signal was enqueued, and the semaphore is not dropped before all work has
        // ended.
        let result = unsafe { wait_one(&on, semaphore.as_ref()?, *submitted) };
        if result.is_ok() {
            self.pending_waits[stream].push((*number, *submitted));
        }
        Some(Outcome::new("waits", result))
    }

    /// Hands over the arrays whose home stream signals the timeline.
    pub(crate) fn signal(&mut self, timeline: u8) -> Option<Outcome> {
        let which = self.find_timeline(timeline, |timeline| timeline.by.is_some())?;
        let by = self.timelines[which].by?;
        let on = Arc::clone(&self.streams[by]);
        let arrays: Vec<_> = self.at_home(by).collect();
        let images: Vec<_> = (0..self.images.len()).filter(|&image| self.images[image].image.is_some()).collect();
        let joined = self.join_all(&arrays);
        let timeline = &self.timelines[which];
        let semaphore = timeline.semaphore.as_ref()?;
        // SAFETY: only one stream signals it, values increase, and it is not dropped before all
        // work has ended.
        let result = joined.and_then(|()| unsafe { signal_one(&on, semaphore, timeline.submitted + 1) });
        if result.is_ok() {
            self.signaled(which, by, &arrays);
        }
        Some(Outcome::new("signals", result).using(arrays, images))
    }

    /// Returns the live arrays with this home stream.
    pub(crate) fn at_home(&self, stream: usize) -> impl Iterator<Item = usize> {
        let is = move |array: &usize| self.arrays[*array].home == stream && self.arrays[*array].buffer.is_some();
        (0..self.arrays.len()).filter(is)
    }

    pub(crate) fn join_all(&self, arrays: &[usize]) -> Result<(), Error> {
        let mut buffers = arrays.iter().filter_map(|&array| self.arrays[array].buffer.as_ref());
        buffers.try_for_each(|buffer| if buffer.has_foreign_work() { buffer.join_foreign_work() } else { Ok(()) })
    }

    /// Notes that the stream signals the next value after all work on the arrays.
    pub(crate) fn signaled(&mut self, timeline: usize, by: usize, arrays: &[usize]) {
        let Timeline { number, submitted, .. } = &mut self.timelines[timeline];
        *submitted += 1;
        let (number, value) = (*number, *submitted);
        let contents = arrays.iter().map(|&array| {
            let (memory, words) = (self.arrays[array].memory, self.arrays[array].words.clone());
            let held = self.memories[memory].words[words.clone()].to_vec();
            (memory, words, held)
        });
        let contents = contents.collect();
        self.expected.push(Expected { number, value, after: self.pending_waits[by].clone(), contents });
    }

    /// Drops the expectations for words that are being overwritten.
    pub(crate) fn forget_expected(&mut self, memory: usize, words: &Range<usize>) {
        let overlaps = |(its, range, _): &(usize, Range<usize>, _)| {
            *its == memory && range.start < words.end && words.start < range.end
        };
        self.expected.iter_mut().for_each(|expected| expected.contents.retain(|contents| !overlaps(contents)));
    }

    pub(crate) fn check_expected(&mut self) {
        if self.lost {
            return;
        }
        let (come, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.expected)
            .into_iter()
            .partition(|expected| self.double.value(expected.number) >= expected.value);
        self.expected = rest;
        for Expected { number, value, after, contents } in come {
            for (other, least) in after {
                let reached = self.double.value(other);
                assert!(
                    reached >= least,
                    "{number} is at {value}, ahead of {other}, which is at {reached}, not {least}"
                );
            }
            for (memory, words, held) in contents {
                let seen = self.memories[memory].seen(&words);
                let same = seen.iter().zip(&held).all(|(seen, held)| held.is_none_or(|held| held == *seen));
                assert!(
                    same,
                    "{number} is at {value}, and words {words:?} of memory {memory} are {seen:x?}, not {held:x?}"
                );
            }
            self.counts.add("hand-overs checked");
        }
        let double = self.double;
        self.pending_waits.iter_mut().for_each(|waits| waits.retain(|&(number, value)| double.value(number) < value));
    }

    pub(crate) fn binary(&mut self) -> Option<Outcome> {
        if self.binaries.len() >= MAX_OBJECTS {
            return None;
        }
        let exported = self.double.export_semaphore(false);
        let number = exported.number;
        // SAFETY: a binary semaphore of the double.
        let made = unsafe { ImportedSemaphore::import(&self.device, exported.handle, SemaphoreKind::Binary, "binary") };
        let result = made.map(|semaphore| {
            self.binaries.push(Binary { semaphore: Some(semaphore), number, signaled: false });
        });
        Some(Outcome::new("binary semaphores", result))
    }

    pub(crate) fn flip(&mut self, binary: u8, stream: u8, exporter: bool) -> Option<Outcome> {
        let alive: Vec<_> =
            (0..self.binaries.len()).filter(|&which| self.binaries[which].semaphore.is_some()).collect();
        let which = *alive.get(usize::from(binary).checked_rem(alive.len())?)?;
        // Only one stream may wait for it at a time, so it is always the same one.
        let waiter = Arc::clone(&self.streams[which % self.streams.len()]);
        let (_, on) = self.stream(stream);
        let Binary { semaphore, number, signaled } = &mut self.binaries[which];
        let semaphore = semaphore.as_ref()?;
        let result = match (*signaled, exporter) {
            // SAFETY: its signal was enqueued, and no other wait is for that signal; the semaphore
            // is not dropped before all work has ended.
            (true, _) => unsafe { wait_one(&waiter, semaphore, 0) },
            (false, true) => {
                self.gates.submit(self.double, *number, 0);
                Ok(())
            }
            // SAFETY: the wait for the previous signal was enqueued; otherwise as above.
            (false, false) => unsafe { signal_one(&on, semaphore, 0) },
        };
        *signaled ^= result.is_ok();
        Some(Outcome::new("binary signals and waits", result))
    }

    pub(crate) fn mark(&mut self, stream: u8) -> Option<Outcome> {
        if self.marks.len() >= MAX_OBJECTS {
            return None;
        }
        let (_, on) = self.stream(stream);
        let result = record_event(&on).map(|mark| self.marks.push(Mark { mark: Some(mark) }));
        Some(Outcome::new("marks", result))
    }

    pub(crate) fn on_mark(&mut self, which: u8, stream: u8, with: MarkOp) -> Option<Outcome> {
        let (_, on) = self.stream(stream);
        let alive: Vec<_> = self.marks.iter().filter_map(|mark| mark.mark.as_ref()).collect();
        let mark = *alive.get(usize::from(which).checked_rem(alive.len())?)?;
        let result = match with {
            MarkOp::HoldBack => mark.make_wait(&on),
            MarkOp::Move => mark.record(&on),
            MarkOp::Ask => mark.is_reached().map(drop),
        };
        Some(Outcome::new("uses of marks", result))
    }

    /// Checks that a stream is idle when all gates are open.
    pub(crate) fn query(&mut self, stream: u8) -> Option<Outcome> {
        self.gates.open(self.double);
        let (_, on) = self.stream(stream);
        let result = query(&on).map(|idle| assert!(idle || self.lost, "the stream does not get on"));
        Some(Outcome::new("queries", result))
    }
}
