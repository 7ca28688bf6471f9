use std::error::Error;
use std::time::Duration;

use bridge::{BufferAccess, BufferSpec, Compute, Exchange, ExchangeInfo, Work};

fn more_and_more(compute: &Compute) -> Result<(), Box<dyn Error>> {
    let info = ExchangeInfo { name: "points", slots: 1, ..Default::default() };
    let spec = BufferSpec::<u32>::new(1000, BufferAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(compute, &info, spec)?;
    let mut turn = exchange.begin()?;
    match turn.work() {
        Work::Cuda(mut cuda) => {
            cuda.stream.memcpy_htod(&[7; 1000], &mut cuda.resources)?
        }
        Work::Host(host) => host.run(|points| points.fill(7))?,
        _ => return Err("this computes with CUDA or on the CPU".into()),
    }
    // A real program submits the frame here, and continues with it below.
    turn.finish()?.skip();

    exchange.grow(5000)?;
    assert_eq!(exchange.resources().len(), 5000);
    let turn = exchange.begin()?.finish()?;
    let points = turn.read_back(Duration::from_secs(10))?;
    assert_eq!(points.len(), 5000);
    // The first elements are kept.
    assert_eq!(points[..1000], [7; 1000]);
    exchange.close()?;
    Ok(())
}
