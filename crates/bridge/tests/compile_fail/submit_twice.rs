use bridge::ash::vk;
use bridge::{RenderTurn, BufferSpec, Result};

fn frame(turn: RenderTurn<BufferSpec<u32>>, commands: vk::CommandBuffer) -> Result<()> {
    unsafe { turn.submit(&[commands]) }?;
    unsafe { turn.submit(&[commands]) }?;
    Ok(())
}

fn main() {
    let _ = frame;
}
