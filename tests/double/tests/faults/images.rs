//! Fault walks like those in `faults`, for images.
//!
//! Unsafe because the operations are.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::walk::{Failure, MAPPED, Operation, Outcome, walk};
use crate::common::world::{IMAGE, NAME, TEXELS, Texel, World};
use cuda_import::cudarc::driver::CudaStream;
use cuda_import::{BufferMappingInfo, ImportedMemory, MappedBuffer, MappedImage, TextureInfo, signal_one};
use driver_double::Call;

/// Objects that remain if an image cannot be freed.
const MAPPED_IMAGE: &[&str] = &["texture", "surface", "array", "memory", "context"];

fn map_image(memory: &Arc<ImportedMemory>, world: &World<'_>) -> Result<MappedImage<Texel>, Failure> {
    // SAFETY: the double exported this image.
    Ok(unsafe { MappedImage::map(memory, &IMAGE, &world.home) }?)
}

/// Writes on a foreign stream, so that there is work to join.
fn foreign_stream_paints(world: &mut World<'_>) -> Outcome {
    let foreign_stream = Arc::clone(&world.foreign_stream);
    Ok(world.image().view_mut().write_from_host(&foreign_stream, 0, .., &[[7; 4]; TEXELS])?)
}

/// Creates objects of each kind, so that there are objects to destroy.
fn make_objects(world: &mut World<'_>) -> Outcome {
    let view = world.image().view_mut();
    let one = TextureInfo { level: Some(1), normalized_coordinates: false, ..Default::default() };
    let (chain, level) = (view.texture(&TextureInfo::default())?, view.texture(&one)?);
    let (first, second) = (view.surface(0)?, view.surface(1)?);
    let made = [chain.as_raw(), level.as_raw(), first.as_raw(), second.as_raw()];
    // The objects exist now, so these calls only look them up.
    let again = [view.texture(&TextureInfo::default())?.as_raw(), view.texture(&one)?.as_raw()];
    assert_eq!([again[0], again[1], view.surface(0)?.as_raw(), view.surface(1)?.as_raw()], made);
    Ok(())
}

/// Copies a layer of the second mip level to a buffer and back to another layer.
fn copy_through_buffer(world: &mut World<'_>, stream: &Arc<CudaStream>) -> Outcome {
    let memory = Arc::clone(world.inputs.memory.as_ref().unwrap());
    let mut buffer = MappedBuffer::<Texel>::map(&memory, &BufferMappingInfo { offset: 0, len: 8 }, &world.home)?;
    let image = world.image();
    image.view_mut().write_from_host(stream, 1, 2.., &[[5; 4]; 8])?;
    image.view().copy_to_buffer(stream, 1, 2.., &mut buffer.view_mut())?;
    image.view_mut().copy_from_buffer(stream, 1, ..1, &buffer.view())?;
    let mut read = [[0; 4]; 8];
    image.view().read_to_host(stream, 1, ..1, &mut read)?;
    assert_eq!(read, [[5; 4]; 8]);
    buffer.close()?;
    Ok(world.image().join_foreign_work()?)
}

#[test]
fn images() {
    let map = Operation::new("map", |world| {
        let memory = Arc::clone(world.inputs.image_memory.as_ref().unwrap());
        world.keep(map_image(&memory, world)?);
        Ok(())
    });
    let objects = Operation::new("textures and surfaces", make_objects);
    // The answer of a driver that does not know a limit.
    let unknown = |call: &Call| call.name == "cuDeviceGetAttribute" && call.code == 1;
    // If creating the levels fails and then destroying the array does too, the array remains.
    let map = Operation { leaves: &["array", "memory", "context"], ignores_failure_of: unknown, ..map };
    walk("images::images", [Operation { object: NAME, ..map }, Operation { object: NAME, ..objects }]);
}

#[test]
fn copies_of_images() {
    let home = Operation::new("home writes and reads", |world| {
        let home = Arc::clone(&world.home);
        world.image().view_mut().write_from_host(&home, 0, .., &[[3; 4]; TEXELS])?;
        let mut layer = [[0; 4]; 8 * 4];
        world.image().view().read_to_host(&home, 0, 1..2, &mut layer)?;
        assert_eq!(layer, [[3; 4]; 8 * 4]);
        Ok(())
    });
    let foreign_stream = Operation::new("a foreign stream writes, home signals", |world| {
        foreign_stream_paints(world)?;
        world.image().join_foreign_work()?;
        // SAFETY: the semaphore outlives the call and is at 1.
        unsafe { signal_one(&world.home, &world.inputs.timelines[0], 2) }?;
        Ok(())
    });
    let turns = Operation::new("a foreign stream, home, the foreign stream", |world| {
        foreign_stream_paints(world)?;
        let home = Arc::clone(&world.home);
        world.image().view_mut().write_from_host(&home, 1, .., &[[4; 4]; 4 * 2 * 3])?;
        foreign_stream_paints(world)?;
        Ok(world.image().join_foreign_work()?)
    });
    walk("images::copies_of_images", [home, foreign_stream, turns]);
}

#[test]
fn copies_of_images_through_buffers() {
    let on_home = Operation::new("through a buffer, home", |world| {
        let home = Arc::clone(&world.home);
        copy_through_buffer(world, &home)
    });
    let on_foreign_stream = Operation::new("through a buffer, a foreign stream", |world| {
        let foreign_stream = Arc::clone(&world.foreign_stream);
        copy_through_buffer(world, &foreign_stream)
    });
    let leaves = MAPPED;
    walk(
        "images::copies_of_images_through_buffers",
        [on_home, on_foreign_stream].map(|operation| Operation { leaves, ..operation }),
    );
}

#[test]
fn ends_of_images() {
    let close = Operation::new("close", |world| {
        make_objects(world)?;
        Ok(world.take_image().close()?)
    });
    let close_after_foreign_stream = Operation::new("close after a foreign stream", |world| {
        foreign_stream_paints(world)?;
        Ok(world.take_image().close()?)
    });
    let drop_image = Operation::new("drop", |world| {
        make_objects(world)?;
        drop(world.take_image());
        Ok(())
    });
    walk(
        "images::ends_of_images",
        [
            Operation { leaves: MAPPED_IMAGE, ..close },
            Operation { leaves: MAPPED_IMAGE, ..close_after_foreign_stream },
            Operation { leaves: MAPPED_IMAGE, ..drop_image },
        ],
    );
}
