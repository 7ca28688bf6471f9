//! Buffers that grow and images that are resized: what is refused, and when the old ones are freed.

use bridge::ash::vk;
use bridge::vk_export::Error as VulkanError;
use bridge::{
    Compute, Error, Exchange, ExportDevice, ImageAccess, ImageSpec, LiveObjects, QueueKind, RenderTurn, Result, Stage,
};
use bridge_tests::{Commands, Gate, Readback, Rig, SmallLimits};

use super::{Inline, LEN, SIZE, Words, fill, fill_on, info, words};

type Image = ImageSpec<u32>;

fn read(readback: &Readback, turn: RenderTurn<Words>) -> Vec<u32> {
    let source = (turn.resources().as_raw(), SIZE);
    readback.run(turn, &[source])[..LEN].to_vec()
}

fn assert_open(result: Result<()>, stage: Stage) {
    match result.unwrap_err() {
        Error::ReplacedWhileOpen { exchange, stage: open, .. } => {
            assert_eq!((exchange.as_str(), open), ("words", stage));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_open_turn_is_an_error() {
    let inline = Inline::open();
    let readback = Readback::new(&inline.device, SIZE);
    let before = LiveObjects::now();
    let mut exchange = inline.exchange("words", 1);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 1);
    assert_open(exchange.grow(2 * LEN), Stage::Compute);
    let turn = turn.finish().unwrap();
    assert_open(exchange.grow(2 * LEN), Stage::Render);
    let turn = turn.lend().unwrap();
    assert_open(exchange.grow(2 * LEN), Stage::Submit);
    // SAFETY: its parts were not used.
    unsafe { turn.not_submitted() };
    let mut vulkan_first = Exchange::render_first(&inline.compute, &info("words", 1), words()).unwrap();
    let turn = vulkan_first.begin().unwrap();
    assert_open(vulkan_first.grow(2 * LEN), Stage::Render);
    turn.skip();
    assert_eq!([exchange.resources().len(), vulkan_first.resources().len()], [LEN; 2]);
    // The recorded work was not lost.
    exchange.grow(2 * LEN).unwrap();
    vulkan_first.grow(2 * LEN).unwrap();
    assert!(read(&readback, exchange.begin().unwrap().finish().unwrap()) == [1; LEN]);
    exchange.close().unwrap();
    vulkan_first.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
    drop(readback);
    inline.finish();
}

/// The compute side of a device with small limits.
fn small(inline: &Inline) -> (ExportDevice, Compute) {
    let device = SmallLimits::device(&inline.device);
    let compute = Compute::inline(&device, QueueKind::Graphics).unwrap();
    (device, compute)
}

fn assert_too_large(result: Result<()>, expected: (u64, &str), requested: u64) {
    match result.unwrap_err() {
        Error::Vulkan(VulkanError::TooLarge { size, limit, limit_name, object, .. }) => {
            assert_eq!((limit, limit_name), expected);
            // Drivers align what they allocate.
            assert!((requested..requested + (1 << 20)).contains(&size), "{size} of {requested} bytes");
            assert!(object.contains("\"words[0]\""), "{object}");
        }
        other => panic!("{other}"),
    }
}

const HEAP: (u64, &str) = (SmallLimits::HEAP, "the size of its memory heap");

#[test]
fn sizes_that_are_refused_change_nothing() {
    let inline = Inline::open();
    let (device, compute) = small(&inline);
    let readback = Readback::new(&device, SIZE);
    let before = LiveObjects::now();
    let mut exchange = Exchange::new(&compute, &info("words", 2), words()).unwrap();
    let mut turn = exchange.begin().unwrap();
    fill_on(&device, &mut turn, 3);
    assert!(read(&readback, turn.finish().unwrap()) == [3; LEN]);
    let alive = (LiveObjects::now(), device.allocated_bytes());
    for limit in [HEAP, (SmallLimits::BUFFER, "maxBufferSize")] {
        assert_too_large(exchange.grow((limit.0 / 4) as usize + 1), limit, limit.0 + 4);
        assert_eq!((LiveObjects::now(), device.allocated_bytes()), alive);
    }
    for len in [0, LEN - 1] {
        let error = exchange.grow(len).unwrap_err().to_string();
        assert!(error.contains(&format!("cannot grow to {len}")), "{error}");
    }
    let error = exchange.grow(usize::MAX).unwrap_err().to_string();
    assert!(error.contains("can address"), "{error}");
    assert_eq!((LiveObjects::now(), device.allocated_bytes()), alive);
    assert_eq!(exchange.resources().len(), LEN);
    exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
    for len in [LEN, 2 * LEN] {
        exchange.grow(len).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert_eq!(turn.slot(), 0);
        assert!(read(&readback, turn) == [3; LEN], "{len} words");
        exchange.begin().unwrap().finish().unwrap().read_back(Rig::LONG).unwrap();
    }
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
    drop(readback);
    inline.finish();
}

#[test]
fn images_that_are_refused_change_nothing() {
    let inline = Inline::open();
    let (device, compute) = small(&inline);
    let before = LiveObjects::now();
    let spec = Image::new(vk::Format::R32_UINT, [16; 2], ImageAccess::TRANSFER_READ);
    let mut exchange = Exchange::new(&compute, &info("words", 2), spec).unwrap();
    let alive = (LiveObjects::now(), device.allocated_bytes());
    for limit in [HEAP, (SmallLimits::IMAGE, "maxResourceSize")] {
        let extent = [2048, (limit.0 / (4 * 2048)) as u32 + 1];
        assert_too_large(exchange.resize(extent), limit, limit.0 + 4 * 2048);
    }
    let error = exchange.resize([0, 16]).unwrap_err().to_string();
    assert!(error.contains("0 x 16"), "{error}");
    let error = exchange.resize([16, u32::MAX]).unwrap_err().to_string();
    assert!(error.contains(&format!("16 x {}", u32::MAX)) && error.contains("maxImageDimension2D"), "{error}");
    let turn = exchange.begin().unwrap();
    assert_open(exchange.resize([32; 2]), Stage::Compute);
    turn.skip().unwrap();
    assert_eq!((LiveObjects::now(), device.allocated_bytes()), alive);
    assert_eq!(exchange.resources().extent(), [16, 16, 1]);
    for side in [16, 32] {
        exchange.resize([side; 2]).unwrap();
        let turn = exchange.begin().unwrap().finish().unwrap();
        assert_eq!(turn.read_back(Rig::LONG).unwrap().len(), (side * side) as usize);
    }
    exchange.close().unwrap();
    assert_eq!(LiveObjects::now(), before);
    inline.finish();
}

/// While the queue is held, the host does not block, and the buffer that the queue will use stays
/// alive; it is freed by a later frame once its last point is reached.
#[test]
fn an_old_buffer_is_freed_after_its_last_point() {
    let inline = Inline::open();
    let (commands, readback) = (Commands::new(&inline.device), Readback::new(&inline.device, SIZE));
    let before = LiveObjects::now();
    let mut exchange = inline.exchange("words", 1);
    let gate = Gate::new(&inline.device);
    gate.hold_queue(&inline.device, QueueKind::Graphics);
    let mut turn = exchange.begin().unwrap();
    fill(&inline, &mut turn, 7);
    let turn = turn.finish().unwrap();
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 9);
    // SAFETY: recorded with the turn's barriers; waited for below.
    let rendered = unsafe { turn.submit(&[recorded]) }.unwrap();
    commands.note(rendered.clone());
    let alive = LiveObjects::now().buffers;
    exchange.grow(2 * LEN).unwrap();
    for _ in 0..20 {
        exchange.begin().unwrap().skip().unwrap();
        assert_eq!(LiveObjects::now().buffers, alive + 1, "what the queue still uses is kept");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(!rendered.is_reached().unwrap(), "the gate holds nothing");
    gate.open();
    assert!(read(&readback, exchange.begin().unwrap().finish().unwrap()) == [9; LEN], "the copy came too early");
    exchange.begin().unwrap().skip().unwrap();
    assert_eq!(LiveObjects::now().buffers, alive, "what nobody uses any more is freed by the next frame");
    exchange.close().unwrap();
    drop((commands, rendered, gate));
    assert_eq!(LiveObjects::now(), before);
    drop(readback);
    inline.finish();
}
