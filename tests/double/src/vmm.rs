//! Virtual memory management: allocations by handle, reserved addresses, what is mapped there, and
//! which devices may access it. None of it lives in a context.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::INVALID_VALUE;
use crate::descriptor::{self, Raw};
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;
use crate::queue::Work;
use crate::table::Table;
use crate::watch::Descriptor;

/// What sizes are multiples of, in bytes.
pub(crate) const GRANULARITY: u64 = 2 << 20;

#[derive(Debug)]
pub(crate) struct Vmm {
    pub(crate) allocations: Table<Allocation>,
    /// Their handles are addresses.
    pub(crate) reservations: Table<Reservation>,
    /// What handles and mappings keep.
    pub(crate) backings: BTreeMap<u64, Backing>,
    /// No device reaches another one's memory.
    pub(crate) no_peers: bool,
}

/// A handle of an allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) backing: u64,
}

/// Memory of a device.
#[derive(Debug)]
pub(crate) struct Backing {
    /// The driver's own; that which was imported stays its owner's.
    pub(crate) descriptor: Descriptor,
    pub(crate) device: i32,
    pub(crate) size: u64,
    /// Handles and mappings.
    pub(crate) uses: u32,
}

#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) size: u64,
    pub(crate) mapped: Option<Mapped>,
}

#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) backing: u64,
    /// Ordinals of devices.
    pub(crate) access: BTreeSet<i32>,
}

impl Vmm {
    pub(crate) const fn new() -> Self {
        Self {
            allocations: Table::new("allocation"),
            reservations: Table::new("reservation"),
            backings: BTreeMap::new(),
            no_peers: false,
        }
    }

    /// What is mapped at an address, with the address where it begins.
    fn at(&self, address: u64, size: u64) -> Option<(u64, &Mapped)> {
        let (start, reservation) = self.reservations.iter().find(|(start, reservation)| {
            address.checked_sub(*start).is_some_and(|into| into.saturating_add(size) <= reservation.size)
        })?;
        Some((start, reservation.mapped.as_ref()?))
    }

    /// The memory behind an address: a descriptor and an offset in it.
    pub(crate) fn place(&self, address: u64, size: u64) -> Option<(Raw, u64)> {
        let (start, mapped) = self.at(address, size)?;
        Some((self.backings.get(&mapped.backing)?.descriptor.raw, address - start))
    }

    /// Whether kernels of a device may access memory of another one.
    pub(crate) fn reaches(&self, device: i32, owner: i32) -> bool {
        device == owner || !self.no_peers
    }

    /// Descriptors that are the driver's.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Raw> {
        self.backings.values().map(|backing| backing.descriptor.raw)
    }
}

impl Ledger {
    /// A handle or a mapping is gone.
    pub(crate) fn let_go(&mut self, backing: u64) {
        let Some(it) = self.vmm.backings.get_mut(&backing) else { return };
        it.uses -= 1;
        if it.uses == 0
            && let Some(Backing { descriptor, .. }) = self.vmm.backings.remove(&backing)
        {
            self.close(descriptor, "an allocation");
        }
    }

    /// Whether a context may use what is at an address: where devices are given access one by one,
    /// its device must be among them.
    pub(crate) fn check_access(&self, context: u64, address: u64) -> Result<(), Refusal> {
        let Some((start, mapped)) = self.vmm.at(address, 1) else { return Ok(()) };
        let device = self.contexts.get(context)?.device;
        if mapped.access.contains(&device) {
            return Ok(());
        }
        let text = format!("device {device} was given no access to {}", self.vmm.reservations.name(start));
        Err(Refusal::new(INVALID_VALUE, Kind::NoAccess, text))
    }

    /// The one reservation that a range is all of.
    pub(crate) fn whole_reservation(&mut self, address: u64, size: u64) -> Result<&mut Reservation, Refusal> {
        let known = self.vmm.reservations.get_mut(address);
        let reservation = known.map_err(|refusal| Refusal { code: INVALID_VALUE, ..refusal })?;
        if reservation.size == size { Ok(reservation) } else { Err(INVALID_VALUE.into()) }
    }

    /// Whether work with a range has still to be done.
    pub(crate) fn is_range_pending(&self, address: u64, size: u64) -> bool {
        let inside = |place: u64| place >= address && place < address + size;
        self.queues.values().flat_map(|queue| &queue.work).any(|(_, work)| match work {
            Work::Write { address, .. } => inside(*address),
            Work::Copy { to, from, .. } => inside(*to) || inside(*from),
            Work::Copy3d(copy) => copy.is_in(inside),
            Work::Launch(launch) => launch.words().any(inside),
            _ => false,
        })
    }

    /// Drops what is left.
    pub(crate) fn forget_vmm(&mut self) {
        for backing in std::mem::take(&mut self.vmm.backings).into_values() {
            descriptor::close(backing.descriptor.raw);
        }
        self.vmm.allocations.clear();
        self.vmm.reservations.clear();
        self.vmm.no_peers = false;
    }
}
