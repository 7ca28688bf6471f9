//! The blocks that the pools use: Vulkan memory that several buffers share.

use std::collections::HashMap;
use std::sync::Arc;

use bridge::BufferAccess;
use bridge::vk_export::{Block, BlockInfo, Buffer, Error, Placement};
use bridge_tests::{Need, Rig, skip};

use crate::READ;

fn block(rig: &Rig, placement: Placement) -> Result<Arc<Block>, Error> {
    let usage = (READ | BufferAccess::VERTEX_INPUT).usage;
    Block::new(rig.device(), &BlockInfo { name: "slab", size: 64 << 10, usage, placement })
}

#[test]
fn buffers_in_a_block_report_their_offset() {
    let rig = Rig::open();
    let block = match block(&rig, Placement::Exportable) {
        Ok(block) => block,
        Err(error @ (Error::NotExportable { .. } | Error::Missing { .. })) => {
            return skip(Need::Gpu, &error.to_string());
        }
        Err(error) => panic!("{error}"),
    };
    let alignment = block.alignment();
    assert!(alignment.is_power_of_two());
    let whole = block.export().unwrap().descriptor;
    assert_eq!((whole.offset, whole.size, whole.dedicated), (0, whole.allocation_size, false));
    assert!(whole.allocation_size >= 64 << 10);
    let buffers: HashMap<u64, Buffer> = [0, 4, 9]
        .map(|index| index * alignment.max(256))
        .map(|offset| (offset, Buffer::new_in(&block, "slice", offset, 100).unwrap()))
        .into();
    drop(block);
    for (offset, buffer) in buffers {
        let descriptor = buffer.export().unwrap().descriptor;
        assert_eq!((descriptor.offset, descriptor.size, &*descriptor.name), (offset, 100, "slice"));
        assert_eq!((descriptor.allocation_size, descriptor.dedicated), (whole.allocation_size, false));
    }
}

#[test]
fn buffers_that_do_not_fit_a_block_are_refused() {
    let rig = Rig::open();
    let block = block(&rig, Placement::HostVisible).unwrap();
    assert!(block.export().unwrap_err().to_string().contains("HostVisible"));
    let error = |offset, size| Buffer::new_in(&block, "slice", offset, size).unwrap_err().to_string();
    let named = "buffer \"slice\" in block \"slab\"";
    if block.alignment() > 1 {
        let odd = error(block.alignment() + 1, 16);
        assert!(odd.contains(named) && odd.contains("not a multiple of"), "{odd}");
    }
    for (offset, size) in [(0, (64 << 10) + 1), (64 << 10, 1), (!0xffff, 1 << 20)] {
        let outside = error(offset, size);
        assert!(outside.contains(named) && outside.contains("do not lie inside"), "{outside}");
    }
    assert!(error(0, 0).contains("0 bytes"));
    let buffer = Buffer::new_in(&block, "slice", 4096, 16).unwrap();
    let first = Buffer::new_in(&block, "slice", 0, 16).unwrap();
    let address = |buffer: &Buffer| buffer.host_ptr().unwrap().addr().get();
    assert_eq!(address(&buffer) - address(&first), 4096);
    drop((block, first));
    // SAFETY: 16 bytes of a block that the buffer keeps alive, and that nothing else uses.
    unsafe { buffer.host_ptr().unwrap().write_bytes(7, 16) };
}
