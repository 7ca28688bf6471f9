//! A CUDA context that is lost while the commands of a frame that Vulkan begins are held: until
//! they end, no error except a timeout says that they are not running.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bridge::ash::vk;
use bridge::{
    Backend, BufferSpec, Compute, ComputeTurn, Error, Exchange, ExchangeInfo, QueueKind, RenderFirst, RenderTurn,
};
use bridge_tests::{Commands, Gate, Rig, assert_silent, with_panicking_logger};
use bridge_view::{Element, ImageFormat, Look, View, ViewInfo};
use log::{Log, Metadata, Record};

use crate::lost::{Fence, Frame, LONG};
use crate::render_first::Reader;
use crate::{Words, double, info, words};

/// `CUDA_ERROR_LAUNCH_FAILED`
const LAUNCH_FAILED: u32 = 719;
/// The size of a view's picture.
const SIZE: [u32; 2] = [24, 16];
/// Longer than the interval in which a wait checks the compute side.
const HELD: Duration = Duration::from_millis(400);

/// The minimum number of calls that a lost context refuses while a wait continues: a submission
/// that does not wait makes far fewer calls.
const MAX_QUERIES: usize = 30;

/// The submission of a frame.
type Submission = Box<dyn FnOnce() -> Result<ComputeTurn<Words, RenderFirst>, Error> + Send>;
/// Prepares a submission.
type Prepare = fn(&Commands, RenderTurn<Words, RenderFirst>) -> Submission;

/// Submits with the test's own commands.
fn submit(commands: &Commands, turn: RenderTurn<Words, RenderFirst>) -> Submission {
    let recorded = commands.fill(&turn, turn.resources().as_raw(), 2);
    // SAFETY: recorded with the turn's barriers; the queue is idle before they are freed.
    Box::new(move || unsafe { turn.submit(&[recorded]) })
}

/// Submits with commands that the bridge frees. The layer reports a pool that is destroyed while
/// they run.
fn run_once(_: &Commands, turn: RenderTurn<Words, RenderFirst>) -> Submission {
    // SAFETY: nothing is recorded except the turn's barriers.
    Box::new(move || unsafe { turn.run_once(Rig::LONG, |_, _| {}) })
}

/// Like [`run_once`], with a short limit.
fn run_once_with_short_limit(_: &Commands, turn: RenderTurn<Words, RenderFirst>) -> Submission {
    // SAFETY: as above.
    Box::new(move || unsafe { turn.run_once(HELD, |_, _| {}) })
}

/// Submits a frame with commands on a queue that is held, while the context is lost and refuses its
/// wait. The gate is opened while the submission waits for it, or once the submission has returned.
fn lost_frame(name: &str, limit: Duration, opens: bool, prepare: Prepare) -> Option<(Error, bool)> {
    let double = double(name)?;
    let rig = Rig::open();
    // The host signals in place of the lost context.
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let commands = Commands::new(rig.device());
    let mut exchange = Exchange::render_first(&compute, &ExchangeInfo { timeout: limit, ..info(1) }, words()).unwrap();
    let mut reader = Reader::new(&compute);
    let mut turn = crate::render_first::draw(&commands, exchange.begin().unwrap(), 1);
    reader.read(&mut turn);
    turn.finish().unwrap().wait(Rig::LONG).unwrap();
    commands.finish();

    let turn = exchange.begin().unwrap();
    let submission = prepare(&commands, turn);
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    double.lose_context(0, LAUNCH_FAILED);
    double.forget_calls();
    let opened = AtomicBool::new(false);
    let open = |gate: &Gate| {
        opened.store(true, Ordering::SeqCst);
        gate.open();
    };
    let (error, was_open) = std::thread::scope(|scope| {
        let submitted = scope.spawn(|| (submission().unwrap_err(), opened.load(Ordering::SeqCst)));
        if opens {
            // The wait repeatedly asks whether the context is lost.
            double.wait_until("the wait for the commands to go on", |double| {
                let refused = double.calls().iter().filter(|call| call.code == LAUNCH_FAILED).count();
                submitted.is_finished() || refused >= MAX_QUERIES
            });
            open(&gate);
        }
        submitted.join().unwrap()
    });
    open(&gate);
    // SAFETY: the test's own device, which nothing else uses.
    unsafe { rig.device().as_raw().device_wait_idle() }.unwrap();
    drop((exchange, reader));
    assert_silent(rig.device());
    Some((error, was_open))
}

fn returns_once_the_commands_have_ended(name: &str, prepare: Prepare) {
    let Some((error, was_open)) = lost_frame(name, Rig::LONG, true, prepare) else { return };
    assert!(was_open, "the commands are still held, and the error says otherwise: {error}");
    assert!(error.is_device_lost(), "{error}");
}

pub(crate) fn an_error_is_returned_once_the_commands_have_ended(name: &str) {
    returns_once_the_commands_have_ended(name, submit);
}

pub(crate) fn an_error_of_run_once_is_returned_once_the_commands_have_ended(name: &str) {
    returns_once_the_commands_have_ended(name, run_once);
}

fn is_a_timeout(name: &str, limit: Duration, prepare: Prepare) {
    let Some((error, was_open)) = lost_frame(name, limit, false, prepare) else { return };
    assert!(!was_open && matches!(error, Error::Timeout { .. }), "{error}");
}

pub(crate) fn exceeding_the_limit_is_a_timeout(name: &str) {
    is_a_timeout(name, HELD, submit);
}

pub(crate) fn exceeding_the_limit_of_run_once_is_a_timeout(name: &str) {
    is_a_timeout(name, Rig::LONG, run_once_with_short_limit);
}

/// Creates a view and an exchange of images that it shows.
fn view_of(compute: &Compute) -> (View, Exchange<BufferSpec<u8>>) {
    let view = View::headless(compute, &ViewInfo { size: SIZE, timeout: Rig::LONG }).unwrap();
    (view, Exchange::new(compute, &info(1), format().spec::<u8>().unwrap()).unwrap())
}

fn format() -> ImageFormat {
    ImageFormat::new(SIZE, 4, Element::U8).unwrap()
}

fn show(view: &mut View, turn: RenderTurn<BufferSpec<u8>>) {
    view.show_image(turn, format(), &Look::default()).unwrap();
    assert!(view.draw().unwrap());
}

/// The view no longer records into any of its command buffers, and keeps its picture.
pub(crate) fn a_view_keeps_what_the_commands_use(name: &str) {
    let Some(double) = double(name) else { return };
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let (mut view, mut shown) = view_of(&compute);
    show(&mut view, shown.begin().unwrap().finish().unwrap());
    view.finish().unwrap();
    let short = ExchangeInfo { timeout: HELD, ..info(2) };
    let mut slots = Exchange::render_first(&compute, &short, view.picture_spec().unwrap()).unwrap();

    let frame = slots.begin().unwrap();
    let gate = Gate::new(rig.device());
    gate.hold_queue(rig.device(), QueueKind::Graphics);
    double.lose_context(0, LAUNCH_FAILED);
    let error = view.read(frame).unwrap_err();
    assert!(matches!(&error, bridge_view::Error::Bridge(Error::Timeout { .. })), "{error}");
    // The layer reports a pool and a picture that are destroyed while commands use them.
    with_panicking_logger(|| drop(view));
    assert_silent(rig.device());
    drop(gate);
    drop((slots, shown));
}

/// Counts the views that report that they are leaked.
struct Leaks(AtomicUsize);

static LEAKS: Leaks = Leaks(AtomicUsize::new(0));

impl Log for Leaks {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let leaked = record.args().to_string().starts_with("the resources that the commands of a view use are leaked");
        self.0.fetch_add(usize::from(leaked), Ordering::SeqCst);
    }

    fn flush(&self) {}
}

/// The view's frame waits for CUDA, whose context is lost, and the frame's exchange is alive: the
/// view lets the frame end, and is freed.
pub(crate) fn a_view_releases_its_frames(name: &str) {
    let Some(double) = double(name) else { return };
    log::set_logger(&LEAKS).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let rig = Rig::open();
    rig.allow(&["VUID-VkSemaphoreSignalInfo-value-03259"]);
    let compute = Compute::new(rig.device(), Backend::Cuda).unwrap();
    let (mut view, mut shown) = view_of(&compute);
    double.hold_work();
    let turn = shown.begin().unwrap().finish().unwrap();
    let frame = Frame::of(&rig, &turn.computed());
    show(&mut view, turn);
    let fence = Fence::new(&rig);
    // SAFETY: no commands; the fence is new.
    unsafe { rig.device().queue().submit(&[], fence.raw) }.unwrap();
    double.lose_context(0, LAUNCH_FAILED);
    double.release_work();
    assert!(!frame.is_signaled(), "the control: nobody has asked");
    assert_eq!(fence.wait(0), Err(vk::Result::TIMEOUT), "the queue does not wait for it");
    // The layer reports what is destroyed while commands use it.
    drop(view);
    assert_eq!(LEAKS.0.load(Ordering::SeqCst), 0, "the view is leaked");
    fence.wait(LONG).unwrap();
    assert_silent(rig.device());
    drop(shown);
}
