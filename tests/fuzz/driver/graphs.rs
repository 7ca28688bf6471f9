//! Graphs: recording, launches, and abandoned captures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bridge_fuzz::ON_PURPOSE;
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{ImportedSemaphore, MappedBuffer, StreamGraph, wait_one};

use crate::op::CaptureKind;
use crate::outcome::{Failure, Outcome};
use crate::world::World;

/// Maximum number of graphs in a case.
const MAX_GRAPHS: usize = 8;

pub(crate) struct Graph {
    /// `None` once it was dropped.
    pub(crate) graph: Option<StreamGraph>,
    /// The timelines that it waits for and signals.
    pub(crate) wait: usize,
    pub(crate) signal: usize,
    home: usize,
    work: Recorded,
}

/// The work of each launch.
#[derive(Clone)]
enum Recorded {
    Write { array: usize, words: Vec<u32> },
    Copy { from: usize, to: usize },
}

impl Graph {
    pub(crate) fn arrays(&self) -> Vec<usize> {
        match self.work {
            Recorded::Write { array, .. } => vec![array],
            Recorded::Copy { from, to } => vec![from, to],
        }
    }
}

type Buffer = (usize, MappedBuffer<u32>);

impl World<'_> {
    pub(crate) fn capture(&mut self, stream: u8, array: u8, other: u8, how: CaptureKind) -> Option<Outcome> {
        if self.graphs.len() >= MAX_GRAPHS {
            return None;
        }
        let wait = self.find_timeline(stream, |timeline| timeline.by.is_none())?;
        let signal = self.find_timeline(array, |timeline| timeline.by.is_some())?;
        let home = self.timelines[signal].by?;
        let (one, two) = (self.take_at_home(home, array), self.take_at_home(home, other));
        let mut buffers: Vec<_> = one.into_iter().chain(two).collect();
        let outcome = self.capture_with(&mut buffers, wait, signal, how);
        buffers.into_iter().for_each(|buffer| self.put_back(buffer));
        outcome
    }

    fn take_at_home(&mut self, home: usize, array: u8) -> Option<Buffer> {
        let alive: Vec<_> = self.at_home(home).collect();
        let which = *alive.get(usize::from(array).checked_rem(alive.len())?)?;
        Some((which, self.arrays[which].buffer.take()?))
    }

    fn capture_with(
        &mut self,
        buffers: &mut [Buffer],
        wait: usize,
        signal: usize,
        how: CaptureKind,
    ) -> Option<Outcome> {
        let home = self.timelines[signal].by?;
        let on = Arc::clone(&self.streams[home]);
        let elsewhere = Arc::clone(&self.streams[(home + 1) % self.streams.len()]);
        let (first, rest) = buffers.split_first_mut()?;
        let words = self.words(first.1.len());
        let copy = rest.first_mut().filter(|_| how == CaptureKind::Copy);
        let work = match &copy {
            Some((to, _)) => Recorded::Copy { from: first.0, to: *to },
            None => Recorded::Write { array: first.0, words: words.clone() },
        };
        let arrays: Vec<_> = std::iter::once(first.0).chain(copy.as_ref().map(|(to, _)| *to)).collect();
        let array = first.0;
        let mut written = false;
        let timelines = (self.timelines[wait].semaphore.as_ref()?, self.timelines[signal].semaphore.as_ref()?);
        let record = |lent: &Arc<CudaStream>| -> Result<(), Failure> {
            let buffer = &mut first.1;
            match (how, copy) {
                (CaptureKind::Elsewhere, _) => {
                    elsewhere.memcpy_htod(&words, &mut buffer.view_mut())?;
                    written = true;
                }
                (_, Some((_, to))) => {
                    let len = buffer.len().min(to.len());
                    let source = buffer.view().slice(..len).unwrap();
                    lent.memcpy_dtod(&source, &mut to.view_mut().slice_mut(..len).unwrap())?;
                }
                _ => lent.memcpy_htod(&words, &mut buffer.view_mut())?,
            }
            match how {
                CaptureKind::Error => Err(Failure::Record("Record")),
                CaptureKind::Panic => panic!("{ON_PURPOSE}"),
                CaptureKind::Nested => Ok(capture(&on, timelines, |_| Ok::<_, Failure>(())).map(drop)?),
                // SAFETY: timelines start at value 0.
                CaptureKind::Wait => Ok(unsafe { wait_one(lent, timelines.0, 0) }?),
                _ => Ok(()),
            }
        };
        let captured = catch_unwind(AssertUnwindSafe(|| capture(&on, timelines, record)));
        if written {
            self.expect_words(array, 0, &words);
        }
        let Ok(captured) = captured else {
            assert_eq!(how, CaptureKind::Panic, "a capture panics");
            let panicked = Err(Failure::Record("Panic"));
            return Some(Outcome::new("captures", panicked).must(Some("Panic")).by_cudarc().using(arrays, []));
        };
        let result = captured.map_err(Failure::from).map(|graph| {
            arrays.iter().for_each(|&array| self.arrays[array].graphs += 1);
            [wait, signal].into_iter().for_each(|timeline| self.timelines[timeline].graphs += 1);
            self.graphs.push(Graph { graph: Some(graph), wait, signal, home, work });
        });
        let refused = match how {
            CaptureKind::Error => Some("Record"),
            CaptureKind::Elsewhere | CaptureKind::Nested => Some("Graph"),
            CaptureKind::Wait => Some("StreamCaptured"),
            CaptureKind::Write | CaptureKind::Copy | CaptureKind::Panic => None,
        };
        Some(Outcome::new("captures", result).must(refused).by_cudarc().using(arrays, []))
    }

    pub(crate) fn launch(&mut self, graph: u8) -> Option<Outcome> {
        let alive: Vec<_> = (0..self.graphs.len()).filter(|&graph| self.graphs[graph].graph.is_some()).collect();
        let which = *alive.get(usize::from(graph).checked_rem(alive.len())?)?;
        let Graph { wait, signal, home, .. } = self.graphs[which];
        let (awaited, work) = (&self.timelines[wait], self.graphs[which].work.clone());
        let (number, value) = (awaited.number, awaited.submitted);
        let arrays = self.graphs[which].arrays();
        if arrays.iter().any(|&array| self.arrays[array].buffer.is_none()) {
            // It was forgotten, and the work of other streams on it cannot be joined anymore.
            return None;
        }
        let joined = self.join_all(&arrays);
        let next = self.timelines[signal].submitted + 1;
        let graph = self.graphs[which].graph.as_mut()?;
        // SAFETY: the value was submitted, the values of the other timeline increase and are
        // signaled on this stream only, and the recorded objects live as long as the graph.
        let result = joined.and_then(|()| unsafe { graph.launch(value, next) });
        if result.is_ok() {
            self.pending_waits[home].push((number, value));
            match work {
                Recorded::Write { array, words } => self.expect_words(array, 0, &words),
                Recorded::Copy { from, to } => self.note_copy(from, to),
            }
            self.signaled(signal, home, &arrays);
        }
        Some(Outcome::new("launches", result).using(arrays, []))
    }
}

fn capture<E>(
    stream: &Arc<CudaStream>,
    (wait, signal): (&ImportedSemaphore, &ImportedSemaphore),
    record: impl FnOnce(&Arc<CudaStream>) -> Result<(), E>,
) -> Result<StreamGraph, cuda_import::CaptureError<E>> {
    // SAFETY: neither semaphore is dropped as long as a graph uses it, and work is enqueued only on
    // the stream that is lent, or the graph is refused.
    unsafe { StreamGraph::capture("graph", stream, wait, signal, record) }
}
