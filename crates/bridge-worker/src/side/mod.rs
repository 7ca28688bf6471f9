//! Common parts of a writer and a reader: importing the slots of an exchange from the renderer's
//! offer, and leaving the exchange.

pub(crate) mod cuda;
pub(crate) mod guard;
pub(crate) mod rescue;

use std::time::Duration;

use bridge_ipc::{
    Code, Direction, ExchangePhase, Message, Offer, OsHandle, Resource, SharedMemory, Side as TimelineSide, Timeline,
};

use crate::error::{Error, Result};
use crate::host::HostMemory;
use crate::link::{Ended, State, quoted};
use crate::resources::Resources;
use crate::shared::Shared;
use crate::side::cuda::CudaSide;
use crate::trace;

/// The slots of an exchange.
pub(crate) enum Side<R: Resources> {
    Cuda(CudaSide<R>),
    /// The resources of each slot.
    Host(Vec<Vec<HostMemory>>),
}

/// An exchange whose slots are imported.
pub(crate) struct ImportedExchange<R: Resources> {
    pub(crate) side: Side<R>,
    pub(crate) offer: Offer,
    /// Current value of this side's timeline.
    pub(crate) computed: u64,
}

/// Waits for the offer with this name, and imports its slots. If the import fails, the renderer is
/// notified.
pub(crate) fn import<R: Resources>(
    shared: &Shared,
    name: &str,
    direction: Direction,
    trust: bool,
) -> Result<ImportedExchange<R>> {
    let complete = |state: &mut State| {
        let phase = |id: u32| state.connection.session().exchange(id);
        let offered = |id: &u32| phase(*id) == Some(ExchangePhase::Offered);
        let found =
            state.inboxes.iter_mut().find(|(id, inbox)| inbox.offer.name == name && !inbox.claimed && offered(id));
        let (_, inbox) = found?;
        inbox.claimed = true;
        Some((inbox.offer.clone(), std::mem::take(&mut inbox.resources), std::mem::take(&mut inbox.timelines)))
    };
    let found = shared.link.wait_for(shared.timeout, complete);
    let (offer, resources, timelines) = found.map_err(|ended| match ended {
        Ended::Timeout => Error::Timeout { what: missing(shared, name), waited: shared.timeout },
        ended => ended_error(shared, name, 0, None, ended),
    })?;
    let exchange = offer.exchange;
    import_offer(shared, offer, (direction, trust), resources, timelines).inspect_err(|error| {
        let code = match error {
            Error::Mismatch { .. } | Error::Connection(bridge_ipc::Error::Memory { .. }) => Code::Resource,
            _ => Code::Failure,
        };
        shared.link.refuse(exchange, code, &error.to_string());
    })
}

/// Describes the missing offer, and those that are available.
fn missing(shared: &Shared, name: &str) -> String {
    let mut state = shared.link.state();
    if !state.missing_offers.iter().any(|asked| asked == name) {
        state.missing_offers.push(name.to_owned());
    }
    let others: Vec<_> = state.unclaimed().into_iter().map(|(_, name)| name).collect();
    let who = state.connection.name();
    let offered = if others.is_empty() { "nothing else".to_owned() } else { quoted(&others) };
    format!("the offer of \"{name}\" by {who}, which offers {offered} so far")
}

fn import_offer<R: Resources>(
    shared: &Shared,
    offer: Offer,
    (direction, trust): (Direction, bool),
    resources: Vec<(Resource, OsHandle)>,
    timelines: Vec<(Timeline, OsHandle)>,
) -> Result<ImportedExchange<R>> {
    let mismatch = |reason: String| Error::Mismatch { exchange: offer.name.clone(), reason };
    if offer.direction != direction {
        let (writes, other) = match offer.direction {
            Direction::RendererWrites => ("renderer", "writer"),
            Direction::WorkerWrites => ("worker", "reader"),
        };
        return Err(mismatch(format!("the {writes} writes it, but its {other} was requested")));
    }
    if offer.trust != trust {
        let (is, was) = match (offer.trust, direction) {
            (true, Direction::WorkerWrites) => ("in step", "latest"),
            (true, Direction::RendererWrites) => ("in step", "latest_reader"),
            (false, Direction::WorkerWrites) => ("a latest exchange", "exchange"),
            (false, Direction::RendererWrites) => ("a latest exchange", "exchange_reader"),
        };
        return Err(mismatch(format!("it is {is}, but `Worker::{was}` was called")));
    }
    if offer.resources as usize != R::RESOURCES {
        return Err(mismatch(format!("a slot has {} resources, but {} were requested", offer.resources, R::RESOURCES)));
    }
    let described: Vec<_> = resources.iter().map(|(resource, _)| *resource).collect();
    for slot in described.chunks_exact(R::RESOURCES) {
        R::check_resources(slot).map_err(mismatch)?;
    }
    let computed = timelines.iter().find(|(timeline, _)| timeline.side == TimelineSide::Computed);
    let computed = computed.map_or(0, |(timeline, _)| timeline.value);
    let side = match &shared.cuda {
        Some(device) => {
            let mut side = CudaSide::new(device, (&offer.name, trust), resources, timelines)?;
            if trust {
                side.guard(shared.link.watch()?);
            }
            Side::Cuda(side)
        }
        None => Side::Host(host_slots::<R>(&offer, resources)?),
    };
    Ok(ImportedExchange { side, offer, computed })
}

fn host_slots<R: Resources>(offer: &Offer, resources: Vec<(Resource, OsHandle)>) -> Result<Vec<Vec<HostMemory>>> {
    let mut slots = Vec::new();
    let mut slot = Vec::with_capacity(R::RESOURCES);
    for (resource, handle) in resources {
        let name = format!("{}[{}].{}", offer.name, resource.slot, resource.index);
        let memory = SharedMemory::from_peer(&name, handle, resource.allocation_size)?;
        let memory = match offer.direction {
            Direction::WorkerWrites => memory.map()?,
            Direction::RendererWrites => memory.map_read_only()?,
        };
        let too_large =
            || Error::Mismatch { exchange: name.clone(), reason: "it is too large for this machine".to_owned() };
        slot.push(HostMemory::new(memory, &resource).ok_or_else(too_large)?);
        if slot.len() == R::RESOURCES {
            slots.push(std::mem::take(&mut slot));
        }
    }
    Ok(slots)
}

impl<R: Resources> Side<R> {
    /// Returns a frame number: frames with a lower one are known to be finished. 0 on the CPU, where
    /// it is not counted.
    pub(crate) fn finished(&self) -> u64 {
        match self {
            Self::Cuda(side) => side.finished(),
            Self::Host(_) => 0,
        }
    }

    /// Signals the values that a dead renderer owed to this side. Returns the highest, if any.
    pub(crate) fn rescue(&mut self, ended: &Ended) -> Option<u64> {
        match (self, ended) {
            (Self::Cuda(side), Ended::Dead) => side.rescue(),
            _ => None,
        }
    }
}

impl Shared {
    /// Notifies the renderer that the exchange is imported.
    pub(crate) fn ready(&self, offer: &Offer) -> Result<()> {
        trace::offer(self, &offer.name);
        let ready = Message::Ready { exchange: offer.exchange };
        match self.link.send(offer.exchange, &ready, Duration::MAX) {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Error::Closed { exchange: offer.name.clone(), reason: format!("by {}", self.link.peer()) })
            }
            Err(ended) => Err(ended_error(self, &offer.name, 0, None, ended)),
        }
    }

    /// Ends this side's part in an exchange, after all of its work.
    pub(crate) fn leave<R: Resources>(&self, side: &mut Side<R>, exchange: u32) {
        if let Side::Cuda(side) = side {
            // With trust, the stream may still wait for a renderer that has ended.
            if self.link.has_exited() {
                side.rescue();
            }
            if !side.finish() {
                // The renderer must not reuse the slots. It learns that they are unused from the
                // end of this process.
                return;
            }
        }
        self.link.close(exchange);
    }
}

pub(crate) fn ended_error(shared: &Shared, exchange: &str, frame: u64, owed: Option<u64>, ended: Ended) -> Error {
    let exchange = exchange.to_owned();
    match ended {
        Ended::Dead => {
            let (who, reason) = (shared.link.peer(), shared.link.cause());
            Error::PeerLost { who, exchange, frame, owed, reason }
        }
        Ended::Timeout => Error::Timeout {
            what: format!("{} in exchange \"{exchange}\"", shared.link.peer()),
            waited: shared.timeout,
        },
        Ended::Closed(error @ bridge_ipc::Error::Closed { .. }) => {
            Error::Closed { exchange, reason: error.to_string() }
        }
        Ended::Closed(error) => error.into(),
    }
}
