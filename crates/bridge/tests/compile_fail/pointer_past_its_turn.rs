use bridge::cuda_import::DeviceViewMut;
use bridge::{BufferSpec, Exchange, Result, Work};

fn frame(exchange: &mut Exchange<BufferSpec<u32>>) -> Result<()> {
    let mut turn = exchange.begin()?;
    let view: Option<DeviceViewMut<'_, u32>> = match turn.work() {
        Work::Cuda(cuda) => Some(cuda.resources),
        _ => None,
    };
    turn.finish()?.skip();
    let _ = view.map(|view| view.as_raw());
    Ok(())
}

fn main() {
    let _ = frame;
}
