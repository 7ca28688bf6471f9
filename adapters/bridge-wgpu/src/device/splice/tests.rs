//! Counting of submissions, and the errors if another thread's submission takes a thread's
//! semaphores.

use std::cell::RefCell;
use std::sync::Mutex;

use bridge::Backend;

use super::*;
use crate::device::Bridge;
use crate::error::Error;
use crate::submit::tests::support;

/// Calls of [`queue_submit`], recorded as their queues.
static CALLS: Mutex<Vec<vk::Queue>> = Mutex::new(Vec::new());
/// Semaphores for the next submission of any thread, which is wrong on purpose.
static STOLEN: Mutex<Vec<Stolen>> = Mutex::new(Vec::new());

/// The semaphores are leaked, for few tests.
struct Stolen {
    queue: vk::Queue,
    waits: &'static [vk::SemaphoreSubmitInfo<'static>],
    signals: &'static [vk::SemaphoreSubmitInfo<'static>],
}

// SAFETY: the values are handles and numbers, and nothing is chained to them.
unsafe impl Send for Stolen {}

pub(super) fn note_call(queue: vk::Queue) {
    CALLS.lock().unwrap().push(queue);
}

/// A barrier, which wgpu or this crate has recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barrier {
    pub(crate) commands: vk::CommandBuffer,
    /// `true` if it waits for all earlier commands.
    pub(crate) is_wide: bool,
    /// `true` if it is of buffers, before copies only.
    pub(crate) is_before_copies: bool,
}

/// The command buffers of a submission, and the barriers that the thread has recorded since the
/// previous submission.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) by_wgpu: Vec<vk::CommandBuffer>,
    pub(crate) to_driver: Vec<vk::CommandBuffer>,
    pub(crate) barriers: Vec<Barrier>,
}

thread_local! {
    static GIVEN: RefCell<Vec<Given>> = const { RefCell::new(Vec::new()) };
    static BARRIERS: RefCell<Vec<Barrier>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn note_barrier(
    commands: vk::CommandBuffer,
    before: vk::PipelineStageFlags,
    behind: vk::PipelineStageFlags,
    image_count: u32,
) {
    let copies = vk::PipelineStageFlags::TRANSFER | vk::PipelineStageFlags::BOTTOM_OF_PIPE;
    let is_before_copies = image_count == 0 && copies.contains(behind);
    let is_wide = before.contains(vk::PipelineStageFlags::ALL_COMMANDS);
    BARRIERS.with_borrow_mut(|all| all.push(Barrier { commands, is_wide, is_before_copies }));
}

/// Records a submission of wgpu.
pub(super) fn note_given(batches: &[vk::SubmitInfo<'_>]) {
    // SAFETY: wgpu passes valid batches.
    let by_wgpu: Vec<_> = batches.iter().flat_map(|batch| unsafe { commands_of(batch) }).copied().collect();
    let given = Given { to_driver: by_wgpu.clone(), by_wgpu, barriers: BARRIERS.take() };
    GIVEN.with_borrow_mut(|all| all.push(given));
}

/// Records the command buffers that reach the driver.
pub(super) fn note_held(commands: &[vk::CommandBuffer]) {
    GIVEN.with_borrow_mut(|all| {
        if let Some(last) = all.last_mut() {
            last.to_driver = commands.to_vec();
        }
    });
}

thread_local! {
    /// The result of all submissions of the thread.
    static ANSWER: Cell<Option<vk::Result>> = const { Cell::new(None) };
}

/// Returns a driver function that fails, if the thread's submissions should fail.
pub(super) fn failing() -> Option<vk::PFN_vkQueueSubmit> {
    unsafe extern "system" fn fail(_: vk::Queue, _: u32, _: *const vk::SubmitInfo<'_>, _: vk::Fence) -> vk::Result {
        ANSWER.get().unwrap_or_default()
    }
    ANSWER.get().map(|_| fail as vk::PFN_vkQueueSubmit)
}

pub(super) fn steal(queue: vk::Queue) -> Option<Added<'static>> {
    let mut stolen = STOLEN.lock().unwrap();
    let index = stolen.iter().position(|added| added.queue == queue)?;
    let Stolen { queue, waits, signals } = stolen.remove(index);
    Some(Splice { queue, leaves_out: false }.added(waits, signals, &[]))
}

impl Splice {
    /// Returns the number of wgpu's calls of `vkQueueSubmit` so far.
    pub(crate) fn calls(self) -> usize {
        CALLS.lock().unwrap().iter().filter(|queue| **queue == self.queue).count()
    }

    /// Returns the thread's submissions since the previous call.
    pub(crate) fn take_given(self) -> Vec<Given> {
        BARRIERS.take();
        GIVEN.take()
    }

    /// Makes the next submission of any thread wait and signal.
    pub(crate) fn add_for_all(
        self,
        waits: &[vk::SemaphoreSubmitInfo<'static>],
        signals: &[vk::SemaphoreSubmitInfo<'static>],
    ) {
        let (waits, signals) = (waits.to_vec().leak(), signals.to_vec().leak());
        STOLEN.lock().unwrap().push(Stolen { queue: self.queue, waits, signals });
    }

    /// Returns `true` if no submission has taken the semaphores.
    pub(crate) fn is_for_all(self) -> bool {
        STOLEN.lock().unwrap().iter().any(|added| added.queue == self.queue)
    }
}

/// Semaphore handles and their values.
type Values = Vec<(u64, u64)>;

thread_local! {
    /// The batches of the last submission: the number of command buffers, waits and signals.
    static SEEN: RefCell<Vec<(u32, Values, Values)>> = const { RefCell::new(Vec::new()) };
}

/// A driver function that records the submissions.
unsafe extern "system" fn driver(
    _: vk::Queue,
    count: u32,
    batches: *const vk::SubmitInfo<'_>,
    _: vk::Fence,
) -> vk::Result {
    // SAFETY: the array has `count` elements.
    let batches = unsafe { slice(batches, count as usize) };
    SEEN.set(batches.iter().map(seen).collect());
    vk::Result::SUCCESS
}

fn seen(batch: &vk::SubmitInfo<'_>) -> (u32, Values, Values) {
    let chained = batch.p_next.cast::<vk::TimelineSemaphoreSubmitInfo<'_>>();
    let is_values = |kind| kind == vk::StructureType::TIMELINE_SEMAPHORE_SUBMIT_INFO;
    // SAFETY: the chain comes from the tests or from the function under test.
    let values = unsafe { chained.as_ref() }.copied().filter(|values| is_values(values.s_type));
    let values = values.unwrap_or_default();
    let (waits, signals) = (batch.wait_semaphore_count, batch.signal_semaphore_count);
    // SAFETY: the array has the length that the batch specifies.
    let stages = unsafe { slice(batch.p_wait_dst_stage_mask, waits as usize) };
    assert!(stages.iter().all(|stage| !stage.is_empty()));
    let waits =
        pairs(batch.p_wait_semaphores, waits, values.p_wait_semaphore_values, values.wait_semaphore_value_count);
    let values = (values.p_signal_semaphore_values, values.signal_semaphore_value_count);
    (batch.command_buffer_count, waits, pairs(batch.p_signal_semaphores, signals, values.0, values.1))
}

/// Returns semaphores with their values; the values are omitted if all semaphores are binary.
fn pairs(raw: *const vk::Semaphore, count: u32, values: *const u64, value_count: u32) -> Values {
    assert!(value_count == 0 || value_count == count);
    // SAFETY: the array has the length that the batch specifies.
    let raw = unsafe { slice(raw, count as usize) };
    // SAFETY: the array has the length that the structure specifies.
    let values = unsafe { slice(values, value_count as usize) };
    raw.iter().map(|raw| vk::Handle::as_raw(*raw)).zip(values.iter().copied().chain(std::iter::repeat(0))).collect()
}

fn raw(handle: u64) -> vk::Semaphore {
    vk::Handle::from_raw(handle)
}

fn submitted(batches: &[vk::SubmitInfo<'_>]) -> Vec<(u32, Values, Values)> {
    let semaphore = |handle, value| vk::SemaphoreSubmitInfo::default().semaphore(raw(handle)).value(value);
    let (waits, signals) = ([semaphore(10, 100), semaphore(11, 101)], [semaphore(20, 200)]);
    let splice = Splice { queue: vk::Queue::null(), leaves_out: false };
    let added = splice.added(&waits, &signals, &[]);
    // SAFETY: the driver function only reads existing elements.
    unsafe { submit_with(driver, vk::Queue::null(), batches, vk::Fence::null(), &added) }.result().unwrap();
    SEEN.take()
}

#[test]
fn semaphores_are_merged_with_those_of_the_batch() {
    let (waits, signals) = ([raw(1), raw(2)], [raw(3), raw(4)]);
    let stages = [vk::PipelineStageFlags::TOP_OF_PIPE; 2];
    let commands = [vk::CommandBuffer::null(); 3];
    let batch = vk::SubmitInfo::default()
        .command_buffers(&commands)
        .wait_semaphores(&waits)
        .wait_dst_stage_mask(&stages)
        .signal_semaphores(&signals);
    // Without values, as with binary semaphores only.
    let all = submitted(&[batch]);
    assert_eq!(all, [(3, vec![(1, 0), (2, 0), (10, 100), (11, 101)], vec![(3, 0), (4, 0), (20, 200)])]);
    // With values for one kind.
    let mut values = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&[30, 40]);
    let all = submitted(&[batch.push_next(&mut values)]);
    assert_eq!(all, [(3, vec![(1, 0), (2, 0), (10, 100), (11, 101)], vec![(3, 30), (4, 40), (20, 200)])]);
    let mut values = vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&[7, 8]);
    let all = submitted(&[batch.push_next(&mut values)]);
    assert_eq!(all, [(3, vec![(1, 7), (2, 8), (10, 100), (11, 101)], vec![(3, 0), (4, 0), (20, 200)])]);
    // Without semaphores of the batch.
    let all = submitted(&[vk::SubmitInfo::default()]);
    assert_eq!(all, [(0, vec![(10, 100), (11, 101)], vec![(20, 200)])]);
}

#[test]
fn what_cannot_be_merged_goes_in_front_and_behind() {
    let commands = [vk::CommandBuffer::null()];
    let batch = vk::SubmitInfo::default().command_buffers(&commands);
    let (first, last) = ((0, vec![(10, 100), (11, 101)], vec![]), (0, vec![], vec![(20, 200)]));
    let mut other = vk::ProtectedSubmitInfo::default();
    let all = submitted(&[batch.push_next(&mut other)]);
    assert_eq!(all, [first.clone(), (1, vec![], vec![]), last.clone()]);
    let all = submitted(&[batch, batch]);
    assert_eq!(all, [first.clone(), (1, vec![], vec![]), (1, vec![], vec![]), last.clone()]);
    assert_eq!(submitted(&[]), [first, last]);
}

/// The first submission of a device shows how wgpu submits; if it fails, creating the device
/// returns an error.
#[test]
fn a_device_whose_first_submission_fails_is_an_error() {
    let adapter = support::adapter();
    for answer in [vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, vk::Result::ERROR_DEVICE_LOST] {
        ANSWER.set(Some(answer));
        let made = Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Host);
        ANSWER.set(None);
        let error = made.err().unwrap();
        assert!(matches!(error, Error::RequestDevice { .. }), "{error}");
    }
    Bridge::request_device(&adapter, &wgpu::DeviceDescriptor::default(), Backend::Host).unwrap();
    assert_eq!(support::validation_messages(), [""; 0]);
}
