use bridge::{BufferSpec, Exchange, RenderBuffer, Result};

fn frame(exchange: &mut Exchange<BufferSpec<u32>>) -> Result<()> {
    let turn = exchange.begin()?.finish()?;
    let buffer: RenderBuffer<'_, u32> = turn.resources();
    turn.skip();
    let _ = buffer.as_raw();
    Ok(())
}

fn main() {
    let _ = frame;
}
