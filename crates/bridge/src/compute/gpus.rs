//! The GPUs of a CUDA compute side.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, Restoring, StreamEvent, query, record_event};
use vk_export::ExportDevice;

use crate::compute::pair::DevicePair;
use crate::error::{Error, Result, first_error};
use crate::timeline::wait;

/// The GPUs that CUDA computes on, each with its stream. The first GPU leads: its stream waits for
/// Vulkan and signals. Clones share the streams.
#[derive(Clone)]
pub(crate) struct Gpus(Arc<Inner>);

struct Inner {
    pair: Arc<Pair>,
    /// Never empty.
    devices: Box<[CudaDevice]>,
    /// The stream of each device, by the device's index.
    streams: Restoring<Box<[Arc<CudaStream>]>>,
    leader: (CudaDevice, Restoring<Arc<CudaStream>>),
    /// The event of each stream, by the stream's index. Every use records the event again at the
    /// end of the stream, so that no frame creates an event. If two threads use an event at once,
    /// one may wait for more work than it needs to.
    ends: Box<[OnceLock<StreamEvent>]>,
}

/// The relation of a CUDA side's GPUs to the drawing GPU.
pub(crate) enum Pair {
    /// The drawing GPU itself: memory is imported as external memory.
    Same(DevicePair),
    /// GPUs that can access the memory of the drawing GPU, as tested by
    /// [`probe`](crate::compute::peer::probe). The drawing GPU may be one of them. Memory is
    /// imported in whole pages, for all of them at once.
    Peer(ExportDevice),
}

impl std::fmt::Debug for Gpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0.devices).finish()
    }
}

impl Gpus {
    /// Creates the set with only the drawing GPU.
    pub(crate) fn same(pair: DevicePair, stream: &Arc<CudaStream>) -> Self {
        let (first, leader) = (pair.cuda().clone(), (pair.cuda().clone(), Arc::clone(stream)));
        Self::with(Arc::new(Pair::Same(pair)), [first].into(), [Arc::clone(stream)].into(), leader)
    }

    /// Creates a set of peer GPUs, each with a new stream; `first` leads.
    pub(crate) fn peers(vulkan: &ExportDevice, first: &CudaDevice, others: &[CudaDevice]) -> Result<Self> {
        Self::with_streams(Arc::new(Pair::Peer(vulkan.clone())), first, others)
    }

    /// Creates a set of the same GPUs, each with a new stream.
    pub(crate) fn with_new_stream(&self) -> Result<Self> {
        Self::with_streams(Arc::clone(&self.0.pair), self.leader(), self.0.devices.get(1..).unwrap_or_default())
    }

    fn with_streams(pair: Arc<Pair>, first: &CudaDevice, others: &[CudaDevice]) -> Result<Self> {
        let devices: Box<[_]> = std::iter::once(first).chain(others).cloned().collect();
        let leader = Restoring::new(first.new_stream()?);
        let mut made = vec![Restoring::new(Arc::clone(&leader))];
        for other in others {
            made.push(Restoring::new(other.new_stream()?));
        }
        let streams = made.iter().map(|stream| Arc::clone(stream)).collect();
        Ok(Self::with(pair, devices, streams, (first.clone(), Arc::clone(&leader))))
    }

    fn with(
        pair: Arc<Pair>,
        devices: Box<[CudaDevice]>,
        streams: Box<[Arc<CudaStream>]>,
        (device, stream): (CudaDevice, Arc<CudaStream>),
    ) -> Self {
        let ends = streams.iter().map(|_| OnceLock::new()).collect();
        let (streams, leader) = (Restoring::new(streams), (device, Restoring::new(stream)));
        Self(Arc::new(Inner { pair, devices, streams, leader, ends }))
    }

    pub(crate) fn pair(&self) -> &Pair {
        &self.0.pair
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.devices.len()
    }

    /// Returns the GPUs. The first one leads.
    pub(crate) fn devices(&self) -> &[CudaDevice] {
        &self.0.devices
    }

    /// Returns the streams. The first one belongs to the leader.
    pub(crate) fn streams(&self) -> &[Arc<CudaStream>] {
        &self.0.streams
    }

    pub(crate) fn leader(&self) -> &CudaDevice {
        &self.0.leader.0
    }

    /// Returns the leader's stream.
    #[inline]
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.0.leader.1
    }

    /// Returns the streams of all GPUs but the leader.
    fn followers(&self) -> &[Arc<CudaStream>] {
        self.0.streams.get(1..).unwrap_or_default()
    }

    /// Makes later work on the other streams wait for the work enqueued on the leader's stream so
    /// far. Calls no driver if there are no other streams.
    pub(crate) fn fan_out(&self) -> Result<()> {
        if self.followers().is_empty() {
            return Ok(());
        }
        let make_wait = |end: &StreamEvent| self.followers().iter().try_for_each(|stream| end.make_wait(stream));
        self.with_end_event(0, make_wait)
    }

    /// Calls `then` with an event recorded after all work of the stream at index `place`.
    fn with_end_event(
        &self,
        place: usize,
        then: impl FnOnce(&StreamEvent) -> Result<(), cuda_import::Error>,
    ) -> Result<()> {
        let (stream, kept) = (&self.0.streams[place], &self.0.ends[place]);
        let kept = match kept.get() {
            Some(kept) => kept,
            None => {
                let made = record_event(stream)?;
                // If another thread was first, its event is recorded again.
                kept.get_or_init(|| made)
            }
        };
        kept.record(stream)?;
        Ok(then(kept)?)
    }

    /// Makes later work on the leader's stream wait for the work enqueued on the other streams so
    /// far, so that a signal covers it too. After an error, the remaining streams are still joined:
    /// if the result is the error of a lost device, the leader waits for all others.
    pub(crate) fn join(&self) -> Result<()> {
        let behind = |follower| self.with_end_event(follower, |end| end.make_wait(self.stream()));
        (1..self.len()).map(behind).fold(Ok(()), first_error)
    }

    /// Waits until the work enqueued on the streams so far has ended, for at most `limit`, and
    /// returns whether it has. Other threads may continue to use the streams; work that they
    /// enqueue later is not waited for.
    pub(crate) fn drain(&self, limit: Duration) -> Result<bool> {
        let ends = self.streams().iter().map(|stream| Ok(record_event(stream)?));
        ended_within(limit, ends, |end| Ok(end.is_reached()?))
    }

    /// Returns `true` if all GPUs that are not lost are idle.
    pub(crate) fn are_idle(&self) -> Result<bool> {
        have_ended(self.streams(), |stream| Ok(query(stream)?))
    }

    /// Returns `true` if the leading GPU is lost, and therefore no longer signals.
    pub(crate) fn leader_is_lost(&self) -> bool {
        is_lost(self.stream())
    }

    /// Returns `true` if all GPUs are lost.
    pub(crate) fn are_lost(&self) -> bool {
        self.streams().iter().all(|stream| is_lost(stream))
    }
}

fn is_lost(stream: &CudaStream) -> bool {
    query(stream).is_err_and(|error| error.is_context_lost())
}

/// Returns `true` if all have ended. Work of a lost device counts as ended.
fn have_ended<T>(ends: &[T], is_reached: impl Fn(&T) -> Result<bool>) -> Result<bool> {
    let mut all = true;
    for end in ends {
        match is_reached(end) {
            Ok(reached) => all &= reached,
            Err(error) if error.is_device_lost() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Waits for all end markers that could be created; a device that is already lost has none.
fn ended_within<T>(
    limit: Duration,
    ends: impl Iterator<Item = Result<T>>,
    is_reached: impl Fn(&T) -> Result<bool>,
) -> Result<bool> {
    let living = ends.filter(|end| !end.as_ref().is_err_and(Error::is_device_lost));
    let living = living.collect::<Result<Vec<_>>>()?;
    wait::poll(limit, || have_ended(&living, &is_reached), || Ok(()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(60);

    fn lost<T>() -> Result<T> {
        Err(Error::HostFailed { reason: "lost".into() })
    }

    fn failed<T>() -> Result<T> {
        Err(Error::invalid("a stream", "it is captured"))
    }

    #[test]
    fn a_lost_gpu_does_not_end_the_wait_for_another() {
        for first in 0..2 {
            let asked = Cell::new(0);
            let is_reached = |gpu: &usize| {
                if *gpu == first {
                    return lost();
                }
                asked.set(asked.get() + 1);
                Ok(asked.get() > 3)
            };
            assert!(ended_within(LONG, [0, 1].into_iter().map(Ok), is_reached).unwrap());
            assert_eq!(asked.get(), 4, "the one that lives was waited for");
        }
        assert!(!ended_within(SHORT, [Ok(0), lost()].into_iter(), |_| Ok(false)).unwrap(), "one that never ends");
        assert!(ended_within(SHORT, [lost::<u32>(), lost()].into_iter(), |_| Ok(false)).unwrap(), "all are lost");
    }

    #[test]
    fn other_errors_are_returned() {
        let never = |_: &u32| -> Result<bool> { panic!("nothing is asked") };
        assert!(!ended_within(LONG, [lost(), failed()].into_iter(), never).unwrap_err().is_device_lost());
        let asked = |gpu: &u32| if *gpu == 0 { lost() } else { failed() };
        assert!(!have_ended(&[0, 1], asked).unwrap_err().is_device_lost());
        for (first, second) in [(lost(), failed()), (failed(), lost()), (Ok(()), failed())] {
            assert!(!first_error(first, second).unwrap_err().is_device_lost());
        }
        assert!(first_error(lost(), Ok(())).unwrap_err().is_device_lost() && first_error(Ok(()), Ok(())).is_ok());
    }
}
