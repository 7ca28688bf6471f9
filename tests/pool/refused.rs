//! Impossible pools and pooled buffers: each results in one clear error.

use bridge::ash::vk;
use bridge::{BufferAccess, BufferSpec, Compute, Exchange, PoolReport, SharedBuffer, SharedPool, SharedPoolInfo};
use bridge_tests::Rig;

use crate::in_pool;

pub(crate) fn invalid_requests_are_refused_by_name(rig: &Rig, compute: &Compute) {
    let error = |info: SharedPoolInfo<'_>| SharedPool::new(compute, &info).unwrap_err().to_string();
    let info = SharedPoolInfo { name: "brook", ..Default::default() };
    let zero = error(SharedPoolInfo { block_size: 0, ..info });
    assert!(zero.contains("shared pool \"brook\"") && zero.contains("0 bytes"), "{zero}");
    let huge = error(SharedPoolInfo { block_size: u64::MAX, ..info });
    assert!(huge.contains("\"brook\"") && huge.contains("512 GiB"), "{huge}");
    let unused = error(SharedPoolInfo { usage: vk::BufferUsageFlags::empty(), ..info });
    assert!(unused.contains("brook.block0") && unused.contains("usage is empty"), "{unused}");

    let vertices = SharedPoolInfo { usage: BufferAccess::VERTEX_INPUT.usage, block_size: 64 << 10, ..info };
    let vertices = SharedPool::new(compute, &vertices).unwrap();
    let before = vertices.report();
    let error = |len, accesses| SharedBuffer::<u32>::new_in(&vertices, "fish", len, accesses).unwrap_err().to_string();
    let none = error(0, BufferAccess::VERTEX_INPUT);
    assert!(none.contains("shared buffer \"fish\"") && none.contains("at least one element"), "{none}");
    let uncountable = error(usize::MAX, BufferAccess::VERTEX_INPUT);
    assert!(uncountable.contains("more bytes than this machine can address"), "{uncountable}");
    let too_large = error(1 << 60, BufferAccess::VERTEX_INPUT);
    assert!(too_large.contains("\"fish\"") && too_large.contains(rig.device().name()), "{too_large}");
    let other_use = error(16, BufferAccess::TRANSFER_READ);
    assert!(other_use.contains("\"brook\"") && other_use.contains("TRANSFER_SRC"), "{other_use}");

    let stranger = Compute::new(rig.device(), compute.backend()).unwrap();
    let spec = BufferSpec::<u32>::new(16, BufferAccess::VERTEX_INPUT);
    let foreign = Exchange::new(&stranger, &in_pool("stray", &vertices), spec).unwrap_err().to_string();
    assert!(foreign.contains("\"brook\"") && foreign.contains("another Compute"), "{foreign}");
    assert_eq!(vertices.report(), before, "nothing was taken");
    assert_ne!(before, PoolReport::default());
}
