//! Sizes beyond 32 bits, and copies between buffers.
#![allow(unsafe_code, clippy::unwrap_used, reason = "imports and copies are unsafe")]
#![cfg(target_os = "linux")]

use std::sync::Arc;

use crate::common::assert_clean;
use crate::common::world::{LEN, NAME, device, import_memory, map};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{
    BufferMappingInfo, CudaDevice, Error, ImportedMemory, MappedBlock, MappedBuffer, MemoryImportInfo, Texel,
};
use driver_double::Double;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn import(double: &Double, device: &CudaDevice, size: u64) -> Arc<ImportedMemory> {
    let exported = double.exporter(device.ordinal()).export_memory(size, true);
    let info = MemoryImportInfo { name: NAME, allocation_size: size, dedicated: true };
    // SAFETY: the double exported it with this size and flag.
    unsafe { ImportedMemory::import(device, exported.handle, &info) }.unwrap()
}

fn map_all<T: Texel>(memory: &Arc<ImportedMemory>, len: u64, home: &Arc<CudaStream>) -> MappedBuffer<T> {
    let len = usize::try_from(len).unwrap();
    MappedBuffer::map(memory, &BufferMappingInfo { offset: 0, len }, home).unwrap()
}

#[test]
fn the_last_byte_is_reached() {
    let Some(double) = Double::in_child("large::the_last_byte_is_reached") else { return };
    let device = device();
    let home = device.new_stream().unwrap();
    for size in [5 * GIB, 17 * GIB] {
        let memory = import(&double, &device, size);
        let beyond = BufferMappingInfo { offset: 0, len: usize::try_from(size).unwrap() + 1 };
        let refused = MappedBuffer::<u8>::map(&memory, &beyond, &home).unwrap_err();
        assert!(matches!(refused, Error::OutOfRange { size: reported, .. } if reported == size + 1), "{refused}");

        let mut bytes = map_all::<u8>(&memory, size, &home);
        assert_eq!((bytes.size(), bytes.len() as u64, memory.allocation_size()), (size, size, size));
        let last = bytes.len() - 1;
        let mut view = bytes.view_mut();
        assert_eq!(view.slice(last..).unwrap().as_raw(), view.as_raw() + size - 1);
        // If offsets were truncated to 32 bits, the last byte would alias this one.
        let cut = last % (1 << 32);
        home.memcpy_htod(&[7u8], &mut view.slice_mut(cut..=cut).unwrap()).unwrap();
        home.memcpy_htod(&[9u8], &mut view.slice_mut(last..).unwrap()).unwrap();
        let (first, mut rest) = view.split_at_mut(last).unwrap();
        assert_eq!((first.len(), rest.len()), (last, 1));
        assert_eq!(home.clone_dtoh(&rest.as_view()).unwrap(), [9]);
        assert_eq!(home.clone_dtoh(&first.slice(cut..=cut).unwrap()).unwrap(), [7]);
        home.memcpy_dtod(&first.slice(cut..=cut).unwrap(), &mut rest).unwrap();
        assert_eq!(home.clone_dtoh(&bytes.view().slice(last..).unwrap()).unwrap(), [7]);
        bytes.close().unwrap();

        // The same bytes as 16-byte elements, whose count is smaller.
        let wide = map_all::<[u32; 4]>(&memory, size / 16, &home);
        assert_eq!((wide.size(), wide.view().bytes().len() as u64), (size, size));
        let element = home.clone_dtoh(&wide.view().slice(wide.len() - 1..).unwrap().bytes()).unwrap();
        assert_eq!(element[15], 7);
        drop((wide, memory));

        // The last part of a block.
        let block = MappedBlock::map(&import(&double, &device, size), &home).unwrap();
        let part = BufferMappingInfo { offset: size - MIB, len: MIB as usize };
        let mut part = MappedBuffer::<u8>::new_in(&block, &part, &home).unwrap();
        assert_eq!((part.offset(), part.as_raw()), (size - MIB, block.as_raw() + size - MIB));
        home.memset_zeros(&mut part.view_mut()).unwrap();
        drop((part, block));
    }
    drop((home, device));
    assert_clean(&double);
}

#[test]
fn a_copy_reaches_as_far_as_both() {
    let Some(double) = Double::in_child("large::a_copy_reaches_as_far_as_both") else { return };
    let device = device();
    let (home, foreign_stream) = (device.new_stream().unwrap(), device.new_stream().unwrap());
    let mut source = map(&import_memory(&double, &device), &home);
    let larger = map_all::<u32>(&import(&double, &device, 4 * MIB), MIB, &home);
    let smaller = map_all::<u32>(&import(&double, &device, MIB), 5, &home);
    // Another stream wrote the source, and the copy must be ordered after that.
    foreign_stream.memcpy_htod(&[3u32; LEN], &mut source.view_mut()).unwrap();
    for target in [&larger, &smaller] {
        // SAFETY: nothing else uses either buffer, and both live.
        unsafe { target.copy_from(&source) }.unwrap();
        let kept = target.len().min(LEN);
        assert_eq!(home.clone_dtoh(&target.view().slice(..kept).unwrap()).unwrap(), vec![3; kept]);
    }
    assert_eq!(home.clone_dtoh(&larger.view().slice(LEN..LEN + 1).unwrap()).unwrap(), [0], "no further");
    drop((source, larger, smaller));
    drop((home, foreign_stream, device));
    assert_clean(&double);
}
