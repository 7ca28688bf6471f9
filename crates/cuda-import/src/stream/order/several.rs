//! Order on several devices: what they all reach has a home stream on each.

use std::sync::Arc;

use cudarc::driver::CudaStream;

use crate::error::{Error, Object, Result};
use crate::memory::ImportedMemory;
use crate::stream::order::StreamOrder;

/// The orders of one object, by device. Work of different devices is not put in order here: that is
/// for events between their home streams.
#[derive(Debug)]
pub(crate) struct Orders {
    first: StreamOrder,
    others: Box<[StreamOrder]>,
}

impl From<StreamOrder> for Orders {
    fn from(first: StreamOrder) -> Self {
        Self { first, others: Box::default() }
    }
}

impl Orders {
    /// Creates the order of `object`, in `memory`: each of `homes` is a stream of the memory's
    /// device at the same place. Where there are fewer, the object is not lent to the other
    /// devices.
    pub(crate) fn new(homes: &[Arc<CudaStream>], memory: &ImportedMemory, object: &Object<'_>) -> Result<Self> {
        let mismatch =
            || Error::ContextMismatch { object: object.to_string(), device: memory.device().name().to_owned() };
        let mut devices = memory.devices();
        let mut orders = homes.iter().map(|home| {
            let device = devices.next().ok_or_else(mismatch)?;
            StreamOrder::new(home, device, object)
        });
        let first = orders.next().ok_or_else(mismatch)??;
        Ok(Self { first, others: orders.collect::<Result<_, _>>()? })
    }

    /// On the first device.
    pub(crate) fn first(&self) -> &StreamOrder {
        &self.first
    }

    /// On the device at this place.
    pub(crate) fn get(&self, place: usize) -> Option<&StreamOrder> {
        self.iter().nth(place)
    }

    /// Returns `true` if there is anything to join on any device.
    #[inline]
    pub(crate) fn has_foreign_work(&self) -> bool {
        self.first.has_foreign_work() || self.others.iter().any(StreamOrder::has_foreign_work)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StreamOrder> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
