//! The GPUs of a CUDA side.

use std::sync::Arc;

use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{CudaDevice, mark};
use vk_export::ExportDevice;

use crate::compute::pair::DevicePair;
use crate::error::Result;

/// The GPUs that CUDA computes on, each with its stream. The first leads: it waits for Vulkan and signals. Cloning it gives the same
/// ones.
#[derive(Clone)]
pub(crate) struct Gpus(Arc<Inner>);

struct Inner {
    pair: Arc<Pair>,
    /// Never empty.
    devices: Box<[CudaDevice]>,
    /// Of the device at the same place.
    streams: Box<[Arc<CudaStream>]>,
    leader: (CudaDevice, Arc<CudaStream>),
}

/// What the GPUs of a CUDA side are to the one that draws.
pub(crate) enum Pair {
    /// The same GPU: memory is imported as the external memory that it is.
    Same(DevicePair),
    /// GPUs that have access to the memory of the one that draws, proven by [`probe`](crate::compute::peer::probe); it may be among
    /// them. Memory is imported in whole pages, for all of them at once.
    Peer(ExportDevice),
}

impl std::fmt::Debug for Gpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0.devices).finish()
    }
}

impl Gpus {
    /// The one that draws.
    pub(crate) fn same(pair: DevicePair, stream: Arc<CudaStream>) -> Self {
        let leader = (pair.cuda().clone(), Arc::clone(&stream));
        let devices = [pair.cuda().clone()].into();
        Self(Arc::new(Inner { pair: Arc::new(Pair::Same(pair)), devices, streams: [stream].into(), leader }))
    }

    /// Others, each with a new stream; `first` leads.
    pub(crate) fn peers(vulkan: &ExportDevice, first: &CudaDevice, others: &[CudaDevice]) -> Result<Self> {
        Self::with_streams(Arc::new(Pair::Peer(vulkan.clone())), first, others)
    }

    /// The same GPUs, each with a new stream.
    pub(crate) fn beside(&self) -> Result<Self> {
        Self::with_streams(Arc::clone(&self.0.pair), self.leader(), self.0.devices.get(1..).unwrap_or_default())
    }

    fn with_streams(pair: Arc<Pair>, first: &CudaDevice, others: &[CudaDevice]) -> Result<Self> {
        let devices: Box<[_]> = std::iter::once(first).chain(others).cloned().collect();
        let leader = (first.clone(), first.new_stream()?);
        let mut streams = vec![Arc::clone(&leader.1)];
        for other in others {
            streams.push(other.new_stream()?);
        }
        Ok(Self(Arc::new(Inner { pair, devices, streams: streams.into(), leader })))
    }

    pub(crate) fn pair(&self) -> &Pair {
        &self.0.pair
    }

    pub(crate) fn len(&self) -> usize {
        self.0.devices.len()
    }

    /// The first leads.
    pub(crate) fn devices(&self) -> &[CudaDevice] {
        &self.0.devices
    }

    /// The first is the leader's.
    pub(crate) fn streams(&self) -> &[Arc<CudaStream>] {
        &self.0.streams
    }

    pub(crate) fn leader(&self) -> &CudaDevice {
        &self.0.leader.0
    }

    /// The leader's stream.
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.0.leader.1
    }

    /// The streams of all but the leader.
    fn followers(&self) -> &[Arc<CudaStream>] {
        self.0.streams.get(1..).unwrap_or_default()
    }

    /// Makes what the other streams are given from now on wait for what the leader's was given. No call where there are no others.
    pub(crate) fn fan_out(&self) -> Result<()> {
        if self.followers().is_empty() {
            return Ok(());
        }
        let behind = mark(self.stream())?;
        Ok(self.followers().iter().try_for_each(|stream| behind.hold_back(stream))?)
    }

    /// Makes what the leader's stream is given from now on wait for what the others were given, so that a signal covers that too.
    pub(crate) fn join(&self) -> Result<()> {
        Ok(self.followers().iter().try_for_each(|stream| mark(stream)?.hold_back(self.stream()))?)
    }
}
