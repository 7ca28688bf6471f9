//! Virtual memory management: allocations by handle, reserved addresses, mappings, and the devices
//! that may access them. None of these belong to a context.

use std::collections::{BTreeMap, BTreeSet};

use crate::abi::INVALID_VALUE;
use crate::descriptor::{self, Raw};
use crate::finding::{Kind, Refusal};
use crate::ledger::Ledger;
use crate::ledger::queue::Work;
use crate::ledger::watch::Descriptor;
use crate::table::Table;

/// The granularity of sizes, in bytes.
pub(crate) const GRANULARITY: u64 = 2 << 20;

#[derive(Debug)]
pub(crate) struct Vmm {
    pub(crate) allocations: Table<Allocation>,
    /// Reservations, whose handles are addresses.
    pub(crate) reservations: Table<Reservation>,
    /// Memory that handles and mappings keep alive.
    pub(crate) backings: BTreeMap<u64, Backing>,
    /// `true` if devices cannot access each other's memory.
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
    /// The driver's own descriptor; the caller of the import keeps the imported one.
    pub(crate) descriptor: Descriptor,
    pub(crate) device: i32,
    pub(crate) size: u64,
    /// Number of handles and mappings.
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
    /// Ordinals of the devices with access.
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

    /// Returns the mapping at an address and its start address.
    fn at(&self, address: u64, size: u64) -> Option<(u64, &Mapped)> {
        let (start, reservation) = self.reservations.iter().find(|(start, reservation)| {
            address.checked_sub(*start).is_some_and(|into| into.saturating_add(size) <= reservation.size)
        })?;
        Some((start, reservation.mapped.as_ref()?))
    }

    /// Returns the memory at an address, as a descriptor and an offset in it.
    pub(crate) fn locate(&self, address: u64, size: u64) -> Option<(Raw, u64)> {
        let (start, mapped) = self.at(address, size)?;
        Some((self.backings.get(&mapped.backing)?.descriptor.raw, address - start))
    }

    /// Returns `true` if kernels of `device` can access memory of `owner`.
    pub(crate) fn can_access(&self, device: i32, owner: i32) -> bool {
        device == owner || !self.no_peers
    }

    /// Returns the descriptors that the driver owns.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Raw> {
        self.backings.values().map(|backing| backing.descriptor.raw)
    }
}

impl Ledger {
    /// Drops one use of a backing, and frees it with the last one.
    pub(crate) fn release_backing(&mut self, backing: u64) {
        let Some(it) = self.vmm.backings.get_mut(&backing) else { return };
        it.uses -= 1;
        if it.uses == 0
            && let Some(Backing { descriptor, .. }) = self.vmm.backings.remove(&backing)
        {
            self.close(descriptor, "an allocation");
        }
    }

    /// Checks that a context may access an address. For mappings with per-device access, its device
    /// must have access.
    pub(crate) fn check_access(&self, context: u64, address: u64) -> Result<(), Refusal> {
        let Some((start, mapped)) = self.vmm.at(address, 1) else { return Ok(()) };
        let device = self.contexts.get(context)?.device;
        if mapped.access.contains(&device) {
            return Ok(());
        }
        let text = format!("device {device} was given no access to {}", self.vmm.reservations.name(start));
        Err(Refusal::new(INVALID_VALUE, Kind::NoAccess, text))
    }

    /// Returns the reservation that consists of exactly this range.
    pub(crate) fn whole_reservation(&mut self, address: u64, size: u64) -> Result<&mut Reservation, Refusal> {
        let known = self.vmm.reservations.get_mut(address);
        let reservation = known.map_err(|refusal| Refusal { code: INVALID_VALUE, ..refusal })?;
        if reservation.size == size { Ok(reservation) } else { Err(INVALID_VALUE.into()) }
    }

    /// Returns `true` if work that uses the range is pending.
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

    /// Drops everything that is left.
    pub(crate) fn forget_vmm(&mut self) {
        for backing in std::mem::take(&mut self.vmm.backings).into_values() {
            descriptor::close(backing.descriptor.raw);
        }
        self.vmm.allocations.clear();
        self.vmm.reservations.clear();
        self.vmm.no_peers = false;
    }
}
