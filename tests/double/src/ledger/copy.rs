//! Copies of blocks of rows between host memory, device memory and array levels.
//!
//! Host memory is treated as pinned: it is read and written when the copy runs, not when it is
//! enqueued. This reveals host memory that is freed before its copy is done.
//!
//! Unsafe because host memory is accessed by address.
#![allow(unsafe_code)]

use crate::abi::{Code, Copy3dDesc, CopyEnd, INVALID_VALUE, MEMORY_ARRAY, MEMORY_DEVICE, MEMORY_HOST, UNKNOWN};
use crate::descriptor;
use crate::finding::Refusal;
use crate::layout::Size;
use crate::ledger::Ledger;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy3d {
    from: End,
    to: End,
    size: Size,
}

/// Position of the first row, and the distance between rows.
#[derive(Clone, Copy, Debug)]
enum End {
    Host {
        address: usize,
        pitch: u64,
        rows: u64,
    },
    Device {
        address: u64,
        pitch: u64,
        rows: u64,
    },
    /// A level, by its handle.
    Array {
        level: u64,
        x: u64,
        y: u64,
        z: u64,
    },
}

impl Copy3d {
    /// Refuses copies that the driver would refuse.
    pub(crate) fn new(ledger: &Ledger, context: u64, desc: &Copy3dDesc) -> Result<Self, Refusal> {
        let size = Size { row: desc.width_in_bytes as u64, rows: desc.height as u64, slices: desc.depth as u64 };
        if size.row == 0 || size.rows == 0 || size.slices == 0 {
            return Err(INVALID_VALUE.into());
        }
        let copy = Self { from: End::new(&desc.from, size)?, to: End::new(&desc.to, size)?, size };
        copy.from.check_bounds(ledger, context, size)?;
        copy.to.check_bounds(ledger, context, size)?;
        Ok(copy)
    }

    /// Returns the handles of the levels that the copy reads or writes.
    pub(crate) fn levels(&self) -> impl Iterator<Item = u64> + use<> {
        let level = |end| match end {
            End::Array { level, .. } => Some(level),
            _ => None,
        };
        level(self.from).into_iter().chain(level(self.to))
    }

    /// Returns `true` if a first row in linear memory is at one of these addresses.
    pub(crate) fn is_in(&self, inside: impl Fn(u64) -> bool) -> bool {
        let first = |end| match end {
            End::Device { address, .. } => Some(address),
            End::Host { .. } | End::Array { .. } => None,
        };
        first(self.from).into_iter().chain(first(self.to)).any(inside)
    }

    pub(crate) fn perform(&self, ledger: &mut Ledger) -> Result<(), Refusal> {
        for z in 0..self.size.slices {
            for y in 0..self.size.rows {
                let row = self.from.read(ledger, y, z, self.size.row)?;
                self.to.write(ledger, y, z, &row)?;
            }
        }
        Ok(())
    }
}

impl End {
    fn new(end: &CopyEnd, size: Size) -> Result<Self, Code> {
        let (x, y, z) = (end.x_in_bytes as u64, end.y as u64, end.z as u64);
        let (pitch, rows) = (end.pitch as u64, end.height as u64);
        if end.level != 0 || end.reserved != 0 {
            return Err(INVALID_VALUE);
        }
        if end.memory_type == MEMORY_ARRAY {
            return Ok(Self::Array { level: end.array, x, y, z });
        }
        if pitch < x + size.row || rows < y + size.rows {
            return Err(INVALID_VALUE);
        }
        let first = x + (y + z * rows) * pitch;
        match end.memory_type {
            MEMORY_HOST if !end.host.is_null() => {
                Ok(Self::Host { address: end.host.expose_provenance() + first as usize, pitch, rows })
            }
            MEMORY_DEVICE => Ok(Self::Device { address: end.device + first, pitch, rows }),
            _ => Err(INVALID_VALUE),
        }
    }

    fn check_bounds(self, ledger: &Ledger, context: u64, size: Size) -> Result<(), Refusal> {
        match self {
            Self::Host { .. } => Ok(()),
            Self::Device { address, pitch, rows } => {
                let before_last = ((size.slices - 1) * rows + size.rows - 1) * pitch;
                ledger.locate(address, before_last + size.row)?;
                ledger.check_access(context, address)
            }
            Self::Array { level, x, y, z } => {
                let (array, level) = ledger.level(context, level)?;
                let whole = array.size(level.level);
                let inside =
                    x + size.row <= whole.row && y + size.rows <= whole.rows && z + size.slices <= whole.slices;
                if inside { Ok(()) } else { Err(INVALID_VALUE.into()) }
            }
        }
    }

    fn read(self, ledger: &Ledger, row: u64, slice: u64, len: u64) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Host { address, pitch, rows } => {
                let place = std::ptr::with_exposed_provenance(address + ((slice * rows + row) * pitch) as usize);
                // SAFETY: cuda.h: the rows are valid until the copy is done.
                Ok(unsafe { std::slice::from_raw_parts::<u8>(place, len as usize) }.to_vec())
            }
            Self::Device { address, pitch, rows } => ledger.load(address + (slice * rows + row) * pitch, len),
            Self::Array { level, x, y, z } => ledger.load_row(level, [x, y + row, z + slice], len),
        }
    }

    fn write(self, ledger: &Ledger, row: u64, slice: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let (raw, place) = match self {
            Self::Host { address, pitch, rows } => {
                let place = std::ptr::with_exposed_provenance_mut(address + ((slice * rows + row) * pitch) as usize);
                // SAFETY: cuda.h: the rows are valid until the copy is done, and nothing else uses
                // them.
                unsafe { bytes.as_ptr().copy_to(place, bytes.len()) };
                return Ok(());
            }
            Self::Device { address, pitch, rows } => {
                ledger.locate(address + (slice * rows + row) * pitch, bytes.len() as u64)?
            }
            Self::Array { level, x, y, z } => return ledger.store_row(level, [x, y + row, z + slice], bytes),
        };
        descriptor::write(raw, place, bytes).map_err(|_| UNKNOWN.into())
    }
}
