//! Order on several devices: an object that they share has a home stream on each.

use std::sync::Arc;

use cudarc::driver::CudaStream;

use crate::error::{Error, Object, Result};
use crate::memory::ImportedMemory;
use crate::stream::order::StreamOrder;

/// The orders of one object, by device. Work on different devices is not ordered here: that needs
/// events between their home streams.
#[derive(Debug)]
pub(crate) struct DeviceOrders {
    first: StreamOrder,
    others: Box<[StreamOrder]>,
}

impl From<StreamOrder> for DeviceOrders {
    fn from(first: StreamOrder) -> Self {
        Self { first, others: Box::default() }
    }
}

impl DeviceOrders {
    /// Creates the order of `object`, in `memory`: each of `homes` is a stream of the memory's
    /// device at the same index. If there are fewer, the object is not lent to the other devices.
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

    /// Returns the order of the first device.
    pub(crate) fn first(&self) -> &StreamOrder {
        &self.first
    }

    /// Returns the order of the device at this index.
    pub(crate) fn get(&self, place: usize) -> Option<&StreamOrder> {
        self.iter().nth(place)
    }

    /// Returns `true` if there is work to join on any device.
    #[inline]
    pub(crate) fn has_foreign_work(&self) -> bool {
        self.first.has_foreign_work() || self.others.iter().any(StreamOrder::has_foreign_work)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StreamOrder> {
        std::iter::once(&self.first).chain(&self.others)
    }
}
