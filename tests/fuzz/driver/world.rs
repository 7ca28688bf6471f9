//! The state of a case: a device of the double, three streams, and the objects that operations
//! create.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use bridge_fuzz::Counts;
use cuda_import::cudarc::driver::{CudaStream, result};
use cuda_import::{CudaDevice, report};
use driver_double::{Double, Finding};

use crate::arrays::{Array, Block};
use crate::end::Forgotten;
use crate::graphs::Graph;
use crate::images::Image;
use crate::memories::Memory;
use crate::op::{Current, Fault, Op, Step};
use crate::order::{Binary, Expected, Mark, Timeline};
use crate::outcome::Outcome;
use crate::watch::Gates;
use crate::{end, log_capture};

/// Number of streams of the case's device; one more stream belongs to another device.
pub(crate) const STREAMS: usize = 3;

pub(crate) struct World<'d> {
    pub(crate) double: &'d Double,
    pub(crate) gates: &'d Gates,
    pub(crate) device: CudaDevice,
    pub(crate) streams: Vec<Arc<CudaStream>>,
    /// Another device, with a stream.
    pub(crate) unrelated: (CudaDevice, Arc<CudaStream>),
    /// This list and the following ones do not shrink before the end.
    pub(crate) memories: Vec<Memory>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) arrays: Vec<Array>,
    pub(crate) images: Vec<Image>,
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) binaries: Vec<Binary>,
    pub(crate) graphs: Vec<Graph>,
    pub(crate) marks: Vec<Mark>,
    /// The guarantee of each signal once it has completed.
    pub(crate) expected: Vec<Expected>,
    /// The semaphore values that each stream waits for.
    pub(crate) pending_waits: Vec<Vec<(u64, u64)>>,
    /// Number of objects that were leaked before the case.
    pub(crate) leaks: u64,
    pub(crate) forgotten: Forgotten,
    pub(crate) counts: Counts,
    /// `true` if a call of the current operation may fail.
    pub(crate) armed: bool,
    /// `true` if any call has failed.
    pub(crate) faulted: bool,
    /// The context is lost.
    pub(crate) lost: bool,
    tag: u32,
}

impl<'d> World<'d> {
    fn new(double: &'d Double, gates: &'d Gates) -> Self {
        let devices = report().unwrap().devices;
        let device = CudaDevice::by_uuid(devices[0].uuid).unwrap();
        let other = CudaDevice::by_uuid(devices[1].uuid).unwrap();
        Self {
            double,
            gates,
            streams: (0..STREAMS).map(|_| device.new_stream().unwrap()).collect(),
            unrelated: (other.clone(), other.new_stream().unwrap()),
            device,
            memories: Vec::new(),
            blocks: Vec::new(),
            arrays: Vec::new(),
            images: Vec::new(),
            timelines: Vec::new(),
            binaries: Vec::new(),
            graphs: Vec::new(),
            marks: Vec::new(),
            expected: Vec::new(),
            pending_waits: vec![Vec::new(); STREAMS],
            leaks: cuda_import::leaks(),
            forgotten: Forgotten::default(),
            counts: Counts::default(),
            armed: false,
            faulted: false,
            lost: false,
            tag: 0,
        }
    }

    /// Returns words that were never written before.
    pub(crate) fn words(&mut self, len: usize) -> Vec<u32> {
        self.tag += 1;
        (0..len as u32).map(|word| self.tag << 12 | word).collect()
    }

    /// Returns a stream of the case and its index.
    pub(crate) fn stream(&self, stream: u8) -> (usize, Arc<CudaStream>) {
        let which = usize::from(stream) % STREAMS;
        (which, Arc::clone(&self.streams[which]))
    }

    /// Returns a home stream, occasionally one of another device.
    pub(crate) fn home(&self, home: u8) -> (Option<usize>, Arc<CudaStream>) {
        match usize::from(home) {
            15 => (None, Arc::clone(&self.unrelated.1)),
            home => (Some(home % STREAMS), Arc::clone(&self.streams[home % STREAMS])),
        }
    }

    fn step(&mut self, step: &Step) {
        let Step { op, fault, on_other_thread, current } = *step;
        self.counts.add("operations");
        self.double.forget_calls();
        log_capture::take();
        match on_other_thread {
            false => self.act(op, fault, current),
            true => std::thread::scope(|scope| {
                let thread = scope.spawn(|| self.act(op, fault, current));
                thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            }),
        }
        self.check_expected();
        let mut findings = self.double.findings();
        // "A null one where no order can be had: whatever is enqueued with that fails."
        let is_null = |text: &str| text.contains(" at 0x0 ");
        findings.retain(|it| !(self.faulted && it.kind == "out-of-bounds" && is_null(&it.text)));
        assert!(findings.is_empty(), "{op:?} broke rules, {}: {findings:#?}", kinds(&findings));
    }

    fn act(&mut self, op: Op, fault: Option<Fault>, current: Current) {
        let context = match current {
            Current::None => 0,
            Current::Own => self.device.context().cu_ctx().addr() as u64,
            Current::Unrelated => self.unrelated.0.context().cu_ctx().addr() as u64,
        };
        self.double.set_current(context);
        self.armed = fault.is_some();
        if let Some(Fault { nth, code, sticky }) = fault {
            self.double.fail_nth(nth, code, sticky);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run(op)));
        let hit = self.double.disarm();
        let outcome = outcome.unwrap_or_else(|panic| {
            eprintln!("{op:?} panicked, with the failing call {hit:?}");
            resume_unwind(panic)
        });
        if hit.is_some() {
            self.counts.add("failed calls");
            self.faulted = true;
            self.lost |= fault.is_some_and(|fault| fault.sticky);
        }
        let Some(outcome) = outcome else { return };
        self.counts.add(outcome.done);
        if hit.is_none() && !self.lost && outcome.restores {
            let after = result::ctx::get_current().unwrap().map_or(0, |context| context.addr() as u64);
            assert_eq!(after, context, "{op:?} has left another context current");
        }
        self.judge(op, hit, outcome);
    }

    fn run(&mut self, op: Op) -> Option<Outcome> {
        match op {
            Op::Import { dedicated } => self.import(dedicated),
            Op::ImportImage => self.import_image(),
            Op::Map { memory, offset, len, home } => self.map(memory, offset, len, home),
            Op::MapImage { memory, home } => self.map_image(memory, home),
            Op::MapBlock { memory, home } => self.map_block(memory, home),
            Op::Part { block, offset, len, home } => self.part(block, offset, len, home),
            Op::Write { array, stream, start, len } => self.write(array, stream, start, len),
            Op::Copy { from, to, stream } => self.copy(from, to, stream),
            Op::CopyFrom { from, to } => self.copy_from(from, to),
            Op::Read { array, stream } => self.read(array, stream),
            Op::Join { array } => self.join(array),
            Op::OnImage { image, stream, level, layer, with } => self.on_image(image, stream, level, layer, with),
            Op::Timeline { by } => self.timeline(by),
            Op::Submit { timeline } => self.submit(timeline),
            Op::Complete => {
                self.gates.complete_one(self.double);
                None
            }
            Op::Wait { timeline, stream } => self.wait(timeline, stream),
            Op::Signal { timeline } => self.signal(timeline),
            Op::Binary => self.binary(),
            Op::Flip { binary, stream, exporter } => self.flip(binary, stream, exporter),
            Op::Mark { stream } => self.mark(stream),
            Op::OnMark { mark, stream, with } => self.on_mark(mark, stream, with),
            Op::Query { stream } => self.query(stream),
            Op::Capture { stream, array, other, how } => self.capture(stream, array, other, how),
            Op::Launch { graph } => self.launch(graph),
            Op::Hold => {
                self.double.hold_work();
                None
            }
            Op::Go => {
                self.double.release_work();
                None
            }
            Op::Refuse(refused) => {
                self.double.set_refused(refused);
                None
            }
            Op::End { what, which, how } => self.end(what, which, how),
        }
    }
}

/// Returns the kinds in one line, by which the fuzzer distinguishes failures.
pub(crate) fn kinds(findings: &[Finding]) -> String {
    findings.iter().map(|it| it.kind.as_str()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ")
}

/// Runs a case after `plant`.
pub(crate) fn run(double: &Double, gates: &Gates, steps: &[Step], plant: impl FnOnce(&World<'_>)) -> Counts {
    double.forget();
    let mut world = World::new(double, gates);
    plant(&world);
    let ran = catch_unwind(AssertUnwindSafe(|| steps.iter().for_each(|step| world.step(step))));
    if let Err(panic) = ran {
        // Its objects must not affect the next case, nor wait for signals that never come.
        double.lose_context(0, 700);
        drop(world);
        resume_unwind(panic);
    }
    end::end(world)
}
