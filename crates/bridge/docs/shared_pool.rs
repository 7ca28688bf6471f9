use bridge::{
    BufferSpec, Compute, BufferAccess, Exchange, ExchangeInfo, SharedPool,
    SharedPoolInfo,
};

fn many(compute: &Compute) -> bridge::Result<()> {
    let info = SharedPoolInfo { block_size: 1 << 20, ..Default::default() };
    let pool = SharedPool::new(compute, &info)?;

    // A hundred buffers per slot, in one block of memory.
    let spec = BufferSpec::<u32>::new(64, BufferAccess::VERTEX_INPUT);
    let specs = vec![spec; 100];
    let info =
        ExchangeInfo { slots: 2, pool: Some(&pool), ..Default::default() };
    let exchange = Exchange::new(compute, &info, specs)?;
    assert_eq!((pool.report().blocks, pool.report().buffers), (1, 200));

    // The memory stays in the pool, for the buffers of later exchanges.
    exchange.close()?;
    assert_eq!((pool.report().blocks, pool.report().buffers), (1, 0));
    Ok(())
}
