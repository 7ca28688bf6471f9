use bridge::ash::vk;
use bridge::{BufferSpec, LentTurn, RenderTurn, Result};

fn submitted(turn: RenderTurn<BufferSpec<u32>>, commands: vk::CommandBuffer) -> Result<()> {
    let _lent = turn.lend()?;
    unsafe { turn.submit(&[commands]) }?;
    Ok(())
}

fn skipped(turn: RenderTurn<BufferSpec<u32>>) -> Result<()> {
    let _lent = turn.lend()?;
    turn.skip();
    Ok(())
}

fn lent_again(turn: LentTurn<BufferSpec<u32>>) {
    let _again = turn.lend();
}

fn submitted_again(turn: LentTurn<BufferSpec<u32>>, commands: vk::CommandBuffer) -> Result<()> {
    unsafe { turn.submit(&[commands]) }?;
    Ok(())
}

fn skipped_later(turn: LentTurn<BufferSpec<u32>>) {
    turn.skip();
}

fn main() {
    let _ = (submitted, skipped, lent_again, submitted_again, skipped_later);
}
