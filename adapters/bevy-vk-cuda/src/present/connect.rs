//! Connects an asset to the side that computes its frames.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bridge::{Exchange, LatestInfo};

use super::shared::SharedPresent;
use super::target::Target;
use super::upload::UploadPresent;
use crate::cuda::Cuda;
use crate::error::Result;
use crate::fault::{Fault, Receiver};
use crate::ring::{COPYING, Ring};
use crate::upload;
use crate::vulkan::copier::Copier;
use crate::vulkan::gate;
use crate::writer::{CudaWriter, WRITER_IN_FLIGHT};

/// An asset of Bevy's, and the frames that it shows.
pub(crate) struct Connection<'a, R: Target> {
    pub(crate) name: &'a str,
    pub(crate) asset: R::Asset,
    pub(crate) spec: R,
    pub(crate) shape: R::Shape,
    /// Numbers of items of a frame and of one of its rows.
    pub(crate) items: [usize; 2],
}

/// Starts presenting the newest frames in the asset, in the way that `cuda` selects, until the
/// program drops the value that is returned with the writer.
///
/// # Errors
/// Those of [`Exchange::latest`], a thread that cannot be started, or
/// [`Error::DeviceReplaced`](crate::Error::DeviceReplaced).
pub(crate) fn connect<R: Target>(cuda: &Cuda, connection: Connection<'_, R>) -> Result<(CudaWriter<R>, Arc<()>)>
where
    <R as crate::vulkan::copier::Source>::Target: Send + Sync,
{
    let Connection { name, asset, spec, shape, items: [items, row] } = connection;
    cuda.check_current(name)?;
    let alive = Arc::new(());
    let (weak, told) = (Arc::downgrade(&alive), Fault::new(name));
    let receiver = Receiver::new(Arc::clone(&told), weak.clone());
    let count = Arc::new(AtomicU64::new(0));
    let presented = Arc::clone(&count);
    let Some(compute) = cuda.compute() else {
        let (uploader, newest) = upload::pair::<R::Item>(name, items)?;
        let (object, name, fault, shown) = (name, name.to_owned(), told, None);
        let present = UploadPresent::<R> { name, newest, asset, shape, alive: weak, fault, presented, shown };
        cuda.add(object, Box::new(present))?;
        return Ok((CudaWriter::upload(uploader, row, receiver, count), alive));
    };
    let (writer_in_flight, reader_in_flight) = (WRITER_IN_FLIGHT, COPYING);
    let info = LatestInfo { name, writer_in_flight, reader_in_flight, ..Default::default() };
    let (writer, reader) = gate::explained(name, || Exchange::latest(compute, &info, spec))?;
    let copier = Copier::new(name, compute.device())?;
    let device = compute.device().as_raw().handle();
    let (object, name, ring, fault) = (name, name.to_owned(), Ring::new(), told);
    let (places, filled, recorded, uncounted) = (None, None, None, false);
    let held = Arc::new(());
    let writing = Arc::downgrade(&held);
    let present = SharedPresent {
        name,
        device,
        copier,
        places,
        ring,
        reader,
        asset,
        shape,
        alive: weak,
        writing,
        fault,
        presented,
        filled,
        uncounted,
        recorded,
    };
    cuda.add(object, Box::new(present))?;
    Ok((CudaWriter::shared(writer, held, receiver, count), alive))
}
