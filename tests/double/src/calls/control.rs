//! What tests call besides the driver's functions. None of it is logged or made to fail.
//!
//! Lists are handed over as text, a line a call of `sink`, its fields apart by tabs.
//!
//! Unsafe because these are C functions.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use crate::abi::Code;
use crate::descriptor::{self, Raw};
use crate::export::{Export, ExportedImage, ImageShape, Payload};
use crate::gate::{self, Fault, Logged};
use crate::ledger::Ledger;
use crate::plant::{Plant, Planted};
use crate::refused::Refused;

/// Gets the test's own pointer, and a line that is valid during the call.
pub(crate) type Sink = unsafe extern "C" fn(*mut c_void, *const u8, usize);

/// The exporting side allocates on a GPU and exports: a fresh descriptor, the caller's; -1 when
/// there is none left.
#[unsafe(no_mangle)]
extern "C" fn double_export_memory(device: c_int, size: u64, dedicated: c_int) -> Raw {
    export(size, Export::Memory { device, size, dedicated: dedicated != 0, image: None })
}

/// As [`double_export_memory`], with an image in it.
///
/// # Safety
/// `image` is one.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_export_image(device: c_int, size: u64, dedicated: c_int, image: *const ImageShape) -> Raw {
    // SAFETY: the caller's promise.
    let image = unsafe { image.read() };
    export(
        size,
        Export::Memory {
            device,
            size,
            dedicated: dedicated != 0,
            image: Some(ExportedImage { shape: image, rows: Vec::new() }),
        },
    )
}

/// The exporting side makes a semaphore and exports it, as [`double_export_memory`] does.
#[unsafe(no_mangle)]
extern "C" fn double_export_semaphore(timeline: c_int) -> Raw {
    export(0, Export::Semaphore(Payload::new(timeline != 0)))
}

/// The number of an export, by a descriptor of it; 0 for all else.
#[unsafe(no_mangle)]
extern "C" fn double_number(raw: Raw) -> u64 {
    descriptor::number(raw).unwrap_or(0)
}

/// The exporting side enqueues a signal. Keeps to the rules, or a finding says so.
#[unsafe(no_mangle)]
extern "C" fn double_submit_signal(number: u64, value: u64) {
    let mut ledger = gate::ledger();
    let submitted = ledger.payload(number).map(|payload| payload.submit_signal(value));
    ledger.note("the exporting side", submitted.unwrap_or(Ok(())));
}

/// A signal that was enqueued completes.
#[unsafe(no_mangle)]
extern "C" fn double_complete_signal(number: u64, value: u64) {
    let mut ledger = gate::ledger();
    let completed = ledger.payload(number).map(|payload| payload.complete_signal(value));
    ledger.note("the exporting side", completed.unwrap_or(Ok(())));
    ledger.proceed();
    gate::changed();
}

/// The semaphore's counter.
#[unsafe(no_mangle)]
extern "C" fn double_value(number: u64) -> u64 {
    gate::ledger().payload(number).map_or(0, |payload| payload.value())
}

/// No work is done from now on, or all that can be.
#[unsafe(no_mangle)]
extern "C" fn double_hold(held: c_int) {
    let mut ledger = gate::ledger();
    ledger.held = held != 0;
    ledger.proceed();
    gate::changed();
}

/// No work of the device's is done from now on; -1: all that can be is.
#[unsafe(no_mangle)]
extern "C" fn double_hold_device(device: c_int) {
    let mut ledger = gate::ledger();
    ledger.held_device = (device >= 0).then_some(device);
    ledger.proceed();
    gate::changed();
}

/// The `nth` call from now on fails. If `sticky`, only calls in a context count, and the context is
/// lost. 0: none does.
#[unsafe(no_mangle)]
extern "C" fn double_fail_nth(nth: u64, code: Code, sticky: c_int) {
    let fault = |after| Fault { after, left: 1, name: String::new(), code, sticky: sticky != 0, fired: None };
    gate::ledger().gate.fault = nth.checked_sub(1).map(fault);
}

/// The next `count` calls of a name fail.
///
/// # Safety
/// `name` is `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_fail_named(name: *const u8, len: usize, count: u64, code: Code) {
    // SAFETY: the caller's promise.
    let name = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(name, len) }).into_owned();
    gate::ledger().gate.fault = Some(Fault { after: 0, left: count, name, code, sticky: false, fired: None });
}

/// A fault takes the device's primary context, as that of a kernel does: between two calls.
#[unsafe(no_mangle)]
extern "C" fn double_lose_context(device: c_int, code: Code) {
    let mut ledger = gate::ledger();
    let context = ledger.contexts.iter().find(|(_, context)| context.device == device).map(|(handle, _)| handle);
    if let Some(context) = context {
        ledger.lose(context, code);
    }
    gate::changed();
}

/// Plants a fault in the calls of a name, about an object or, for 0, all, until [`double_forget`].
///
/// # Safety
/// `name` is `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_plant(planted: Planted, name: *const u8, len: usize, object: u64) {
    // SAFETY: the caller's promise.
    let name = unsafe { std::slice::from_raw_parts(name, len) };
    gate::ledger().gate.plant = Some(Plant::new(planted, String::from_utf8_lossy(name).into_owned(), object));
}

/// What becomes of descriptors that imports refuse from now on.
#[unsafe(no_mangle)]
extern "C" fn double_set_refused(refused: Refused) {
    gate::ledger().refused = refused;
}

/// The call that the fault hit, if it did, as [`double_calls`] would give it.
///
/// # Safety
/// `sink` takes `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_fault(sink: Sink, data: *mut c_void) {
    let fired = gate::ledger().gate.fault.as_ref().and_then(|fault| fault.fired.clone());
    // SAFETY: the caller's promise.
    unsafe { send(fired.iter().map(line), sink, data) };
}

/// Name, object and code of each call since [`double_forget_calls`].
///
/// # Safety
/// `sink` takes `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_calls(sink: Sink, data: *mut c_void) {
    let lines: Vec<_> = gate::ledger().gate.log.iter().map(line).collect();
    // SAFETY: the caller's promise.
    unsafe { send(lines, sink, data) };
}

/// Name and object of each call that has not returned, and what it waits for.
///
/// # Safety
/// `sink` takes `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_blocked(sink: Sink, data: *mut c_void) {
    let lines: Vec<_> = gate::ledger()
        .gate
        .blocked
        .iter()
        .map(|call| format!("{}\t{}\t{}", call.name, call.object, call.reason))
        .collect();
    // SAFETY: the caller's promise.
    unsafe { send(lines, sink, data) };
}

/// Makes them return.
#[unsafe(no_mangle)]
extern "C" fn double_end_blocked() {
    gate::ledger().gate.end_blocked();
    gate::changed();
}

#[unsafe(no_mangle)]
extern "C" fn double_forget_calls() {
    gate::ledger().gate.log.clear();
}

/// Kind and text of each finding since the last call of this.
///
/// # Safety
/// `sink` takes `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_findings(sink: Sink, data: *mut c_void) {
    let findings = gate::ledger().take_findings();
    // SAFETY: the caller's promise.
    unsafe { send(findings.iter().map(|(kind, text)| format!("{kind}\t{text}")), sink, data) };
}

/// Makes everything that is left a finding, but what could not be destroyed because a fault hit
/// that very call.
#[unsafe(no_mangle)]
extern "C" fn double_find_leaks() {
    gate::ledger().find_leaks();
}

/// Handle, name and `kept` or `refused` of each object, then of each descriptor that nobody closed.
///
/// # Safety
/// `sink` takes `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_live(sink: Sink, data: *mut c_void) {
    let ledger = gate::ledger();
    let objects = ledger.live().into_iter().map(|(handle, name, refused)| {
        let state = if refused { "refused" } else { "kept" };
        format!("{handle}\t{name}\t{state}")
    });
    let loose = ledger.loose().into_iter().map(|raw| format!("{raw}\tdescriptor {raw}\tkept"));
    let lines: Vec<_> = objects.chain(loose).collect();
    drop(ledger);
    // SAFETY: the caller's promise.
    unsafe { send(lines, sink, data) };
}

/// Drops what is left, as the end of the process would, and ends faults and overrides.
#[unsafe(no_mangle)]
extern "C" fn double_forget() {
    Ledger::forget(&mut gate::ledger());
    gate::set_current(0);
}

/// Whether devices reach each other's memory.
#[unsafe(no_mangle)]
extern "C" fn double_set_peers(reach: c_int) {
    gate::ledger().vmm.no_peers = reach == 0;
}

/// Makes a context current on this thread, 0 none.
#[unsafe(no_mangle)]
extern "C" fn double_set_current(context: u64) {
    gate::set_current(context);
}

/// What all devices say of an attribute from now on.
#[unsafe(no_mangle)]
extern "C" fn double_set_attribute(attribute: c_int, value: c_int) {
    gate::ledger().attributes.insert(attribute, value);
}

fn export(size: u64, export: Export) -> Raw {
    let mut ledger = gate::ledger();
    let number = ledger.serial();
    match descriptor::create(number, size) {
        Ok(raw) => {
            ledger.exports.insert(number, export);
            raw
        }
        Err(_) => -1,
    }
}

fn line(call: &Logged) -> String {
    format!("{}\t{}\t{}", call.name, call.object, call.code)
}

/// # Safety
/// `sink` takes `data`.
unsafe fn send(lines: impl IntoIterator<Item = String>, sink: Sink, data: *mut c_void) {
    for line in lines {
        // SAFETY: the caller's promise; the line lives until the call returns.
        unsafe { sink(data, line.as_ptr(), line.len()) };
    }
}
