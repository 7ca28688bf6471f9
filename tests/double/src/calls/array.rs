//! Mipmapped arrays on imported memory.
//!
//! Unsafe because these are C functions; cuda.h documents their contracts.
#![allow(unsafe_code)]

use std::ffi::c_uint;

use super::put;
use crate::abi::{Code, INVALID_VALUE, MipmappedArrayDesc};
use crate::export::{Export, ExportedImage};
use crate::finding::Kind;
use crate::gate::{Needs, entry};
use crate::layout::Rows;
use crate::ledger::Ledger;
use crate::ledger::array::{self, Array, Level};

/// The driver accepts most wrong descriptions without an error, so those are only reported as
/// findings.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuExternalMemoryGetMappedMipmappedArray(
    mipmapped: *mut u64,
    memory: u64,
    desc: *const MipmappedArrayDesc,
) -> Code {
    // SAFETY: cuda.h: a valid description, or null, which is an error.
    let Some(desc) = (unsafe { desc.as_ref() }) else { return INVALID_VALUE };
    entry("cuExternalMemoryGetMappedMipmappedArray", Needs::Context).about(memory).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        let imported = ledger.memories.get(memory)?;
        ledger.check_context(context, "memory", imported.context)?;
        let (size, export) = (imported.size, imported.descriptor.export);
        array::validate(&desc.array, desc.levels)?;
        let (offset, levels) = (desc.offset, desc.levels);
        let mut array = Array { context, memory, offset, desc: desc.array, levels, rows: Vec::new() };
        if desc.reserved != [0; 16] || desc.offset >= size || array.start(desc.levels) > size {
            return Err(INVALID_VALUE.into());
        }
        array.rows = place(ledger, export, &array, desc);
        compare(ledger, memory, export, desc);
        let handle = ledger.new_handle();
        ledger.arrays.insert(handle, array);
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(mipmapped, handle) }
    })
}

/// Returns where the driver expects the texels. The driver derives the placement from the
/// description alone: it matches the image if the description matches and the layouts agree.
fn place(ledger: &Ledger, export: u64, array: &Array, desc: &MipmappedArrayDesc) -> Vec<Rows> {
    let Some(Export::Memory { image: Some(image), .. }) = ledger.exports.get(&export) else { return array.by_level() };
    let ExportedImage { shape, rows } = image.clone().mapped_with(desc.array.flags);
    if !shape.has_same_layout() {
        return array.by_layer();
    }
    let is_it = shape.differences(desc.offset, &desc.array, desc.levels).is_empty();
    if is_it && !rows.is_empty() { rows } else { array.by_level() }
}

/// Reports where the description differs from the image.
fn compare(ledger: &mut Ledger, memory: u64, export: u64, desc: &MipmappedArrayDesc) {
    let name = ledger.memories.name(memory);
    let Some(Export::Memory { image: Some(image), .. }) = ledger.exports.get(&export) else {
        ledger.report(Kind::ImageDiffers, format!("{name} has no image"));
        return;
    };
    let image = image.clone().mapped_with(desc.array.flags).shape;
    if !image.has_same_layout() {
        let text = format!(
            "{name} has {image:?}: CUDA places the layers of an array elsewhere unless it has one mip level, or several \
             layers and all mip levels"
        );
        ledger.report(Kind::MipLayout, text);
    }
    let differences = image.differences(desc.offset, &desc.array, desc.levels);
    if !differences.is_empty() {
        let text = format!("{name} has {image:?}, which is mapped with another {}", differences.join(", "));
        ledger.report(Kind::ImageDiffers, text);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMipmappedArrayGetLevel(array: *mut u64, mipmapped: u64, level: c_uint) -> Code {
    entry("cuMipmappedArrayGetLevel", Needs::Context).about(mipmapped).run(|ledger, context| {
        let of = ledger.arrays.get(mipmapped)?;
        ledger.check_context(context, "array", of.context)?;
        if level >= of.levels {
            return Err(INVALID_VALUE.into());
        }
        let handle = ledger.new_handle();
        ledger.levels.insert(handle, Level { array: mipmapped, level });
        // SAFETY: cuda.h: an output pointer; a handle is a pointer.
        unsafe { put(array, handle) }
    })
}

/// Also destroys the handles of its levels.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMipmappedArrayDestroy(mipmapped: u64) -> Code {
    let destroy = entry("cuMipmappedArrayDestroy", Needs::Context).about(mipmapped);
    destroy.on_fault(|ledger, array, _| ledger.arrays.refuse(array)).run(|ledger, context| {
        ledger.check_unsafe_call()?;
        ledger.check_context(context, "array", ledger.arrays.get(mipmapped)?.context)?;
        let name = ledger.arrays.name(mipmapped);
        if ledger.is_array_pending(mipmapped) {
            ledger.report(Kind::PendingAtDestroy, format!("{name} is destroyed with copies pending"));
        }
        let textures = ledger.textures.iter().filter(|(_, texture)| texture.array == mipmapped);
        let textures = textures.map(|(handle, _)| ledger.textures.name(handle));
        let surfaces = ledger.surfaces.iter().filter(|(_, surface)| surface.array == mipmapped);
        let surfaces = surfaces.map(|(handle, _)| ledger.surfaces.name(handle));
        for object in textures.chain(surfaces).collect::<Vec<_>>() {
            ledger.report(Kind::ObjectsAtDestroy, format!("{name} is destroyed before {object}"));
        }
        let levels: Vec<_> =
            ledger.levels.iter().filter(|(_, level)| level.array == mipmapped).map(|(at, _)| at).collect();
        for level in levels {
            ledger.levels.remove(level)?;
        }
        ledger.arrays.remove(mipmapped)?;
        Ok(())
    })
}
