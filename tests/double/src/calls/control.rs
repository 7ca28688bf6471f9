//! Functions that tests call in addition to the driver's functions. They are neither logged nor
//! made to fail.
//!
//! Lists are returned as text: each call of `sink` receives one line, with fields separated by
//! tabs.
//!
//! Unsafe because these are C functions.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use super::context::primary;
use crate::abi::Code;
use crate::descriptor::{self, Raw};
use crate::export::{Export, ExportedImage, ImageShape, Payload};
use crate::gate;
use crate::ledger::Ledger;
use crate::ledger::call_log::{Fault, Logged, SignalAfterQueries};
use crate::plant::{Plant, Planted};
use crate::refused::Refused;

/// Callback that receives the test's own pointer and a line that is valid during the call.
pub(crate) type Sink = unsafe extern "C" fn(*mut c_void, *const u8, usize);

/// Allocates memory on a GPU as the exporting side and exports it. Returns a new descriptor that
/// the caller owns, or -1 if no descriptor is available.
#[unsafe(no_mangle)]
extern "C" fn double_export_memory(device: c_int, size: u64, dedicated: c_int) -> Raw {
    export(size, Export::Memory { device, size, dedicated: dedicated != 0, image: None })
}

/// Like [`double_export_memory`], for memory that contains an image.
///
/// # Safety
///
/// `image` is valid for reads.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_export_image(device: c_int, size: u64, dedicated: c_int, image: *const ImageShape) -> Raw {
    // SAFETY: guaranteed by the caller.
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

/// Creates a semaphore as the exporting side and exports it, like [`double_export_memory`].
#[unsafe(no_mangle)]
extern "C" fn double_export_semaphore(timeline: c_int) -> Raw {
    export(0, Export::Semaphore(Payload::new(timeline != 0)))
}

/// Returns the number of the export that a descriptor refers to, or 0 for any other descriptor.
#[unsafe(no_mangle)]
extern "C" fn double_number(raw: Raw) -> u64 {
    descriptor::number(raw).unwrap_or(0)
}

/// Enqueues a signal as the exporting side. Reports a finding if the signal breaks a rule.
#[unsafe(no_mangle)]
extern "C" fn double_submit_signal(number: u64, value: u64) {
    gate::ledger().submit_signal(number, value);
}

/// Completes a signal that was enqueued.
#[unsafe(no_mangle)]
extern "C" fn double_complete_signal(number: u64, value: u64) {
    gate::ledger().complete_signal(number, value);
    gate::notify_change();
}

/// Enqueues and completes a signal as the exporting side once `count` queries of this name have
/// found unfinished work from now on, before the last of them returns.
///
/// # Safety
///
/// `name` points to `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_signal_after_queries(name: *const u8, len: usize, count: u64, number: u64, value: u64) {
    // SAFETY: guaranteed by the caller.
    let name = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(name, len) }).into_owned();
    gate::ledger().gate.signal = Some(SignalAfterQueries { name, left: count, number, value });
}

/// Returns the counter value of the semaphore.
#[unsafe(no_mangle)]
extern "C" fn double_value(number: u64) -> u64 {
    gate::ledger().payload(number).map_or(0, |payload| payload.value())
}

/// Holds all work from now on, or stops holding it and runs everything that can run.
#[unsafe(no_mangle)]
extern "C" fn double_hold(held: c_int) {
    let mut ledger = gate::ledger();
    ledger.held = held != 0;
    ledger.proceed();
    gate::notify_change();
}

/// Holds all work of a device from now on. -1 stops holding it and runs everything that can run.
#[unsafe(no_mangle)]
extern "C" fn double_hold_device(device: c_int) {
    let mut ledger = gate::ledger();
    ledger.held_device = (device >= 0).then_some(device);
    ledger.proceed();
    gate::notify_change();
}

/// Makes the `nth` call from now on fail, or no call if `nth` is 0. If `sticky`, only calls in a
/// context count, and the context is lost.
#[unsafe(no_mangle)]
extern "C" fn double_fail_nth(nth: u64, code: Code, sticky: c_int) {
    let fault = |after| Fault { after, left: 1, name: String::new(), code, sticky: sticky != 0, fired: None };
    gate::ledger().gate.fault = nth.checked_sub(1).map(fault);
}

/// Makes the next `count` calls of a function fail.
///
/// # Safety
///
/// `name` points to `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_fail_named(name: *const u8, len: usize, count: u64, code: Code) {
    // SAFETY: guaranteed by the caller.
    let name = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(name, len) }).into_owned();
    gate::ledger().gate.fault = Some(Fault { after: 0, left: count, name, code, sticky: false, fired: None });
}

/// Loses the device's primary context to a fault between two calls, as the fault of a kernel does.
#[unsafe(no_mangle)]
extern "C" fn double_lose_context(device: c_int, code: Code) {
    let mut ledger = gate::ledger();
    if let Some(context) = primary(&ledger, device) {
        ledger.lose(context, code);
    }
    gate::notify_change();
}

/// Plants a fault in the calls of a function on an object, or on all objects if `object` is 0,
/// until [`double_forget`].
///
/// # Safety
///
/// `name` points to `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_plant(planted: Planted, name: *const u8, len: usize, object: u64) {
    // SAFETY: guaranteed by the caller.
    let name = unsafe { std::slice::from_raw_parts(name, len) };
    gate::ledger().gate.plant = Some(Plant::new(planted, String::from_utf8_lossy(name).into_owned(), object));
}

/// Sets what imports do from now on with descriptors that they refuse.
#[unsafe(no_mangle)]
extern "C" fn double_set_refused(refused: Refused) {
    gate::ledger().refused = refused;
}

/// Sends the call that the fault hit, if any, in the format of [`double_calls`].
///
/// # Safety
///
/// `sink` accepts `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_fault(sink: Sink, data: *mut c_void) {
    let fired = gate::ledger().gate.fault.as_ref().and_then(|fault| fault.fired.clone());
    // SAFETY: guaranteed by the caller.
    unsafe { send(fired.iter().map(line), sink, data) };
}

/// Sends name, object and code of each call since [`double_forget_calls`].
///
/// # Safety
///
/// `sink` accepts `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_calls(sink: Sink, data: *mut c_void) {
    let lines: Vec<_> = gate::ledger().gate.log.iter().map(line).collect();
    // SAFETY: guaranteed by the caller.
    unsafe { send(lines, sink, data) };
}

/// Sends name and object of each call that has not returned, and what the call waits for.
///
/// # Safety
///
/// `sink` accepts `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_blocked(sink: Sink, data: *mut c_void) {
    let lines: Vec<_> = gate::ledger()
        .gate
        .blocked
        .iter()
        .map(|call| format!("{}\t{}\t{}", call.name, call.object, call.reason))
        .collect();
    // SAFETY: guaranteed by the caller.
    unsafe { send(lines, sink, data) };
}

/// Makes the blocked calls return.
#[unsafe(no_mangle)]
extern "C" fn double_end_blocked() {
    gate::ledger().gate.end_blocked();
    gate::notify_change();
}

#[unsafe(no_mangle)]
extern "C" fn double_forget_calls() {
    gate::ledger().gate.log.clear();
}

/// Sends kind and text of each finding since the last call of this function.
///
/// # Safety
///
/// `sink` accepts `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_findings(sink: Sink, data: *mut c_void) {
    let findings = gate::ledger().take_findings();
    // SAFETY: guaranteed by the caller.
    unsafe { send(findings.iter().map(|(kind, text)| format!("{kind}\t{text}")), sink, data) };
}

/// Reports every remaining object as a finding, except objects whose destroying call was hit by a
/// fault.
#[unsafe(no_mangle)]
extern "C" fn double_find_leaks() {
    gate::ledger().find_leaks();
}

/// Sends handle, name and `kept` or `refused` of each object, then of each descriptor that is still
/// open.
///
/// # Safety
///
/// `sink` accepts `data`.
#[unsafe(no_mangle)]
unsafe extern "C" fn double_live(sink: Sink, data: *mut c_void) {
    let ledger = gate::ledger();
    let objects = ledger.live().into_iter().map(|(handle, name, refused)| {
        let state = if refused { "refused" } else { "kept" };
        format!("{handle}\t{name}\t{state}")
    });
    let loose = ledger.unowned_descriptors().into_iter().map(|raw| format!("{raw}\tdescriptor {raw}\tkept"));
    let lines: Vec<_> = objects.chain(loose).collect();
    drop(ledger);
    // SAFETY: guaranteed by the caller.
    unsafe { send(lines, sink, data) };
}

/// Drops everything that is left, as the end of the process would, and ends faults and overrides.
#[unsafe(no_mangle)]
extern "C" fn double_forget() {
    Ledger::forget(&mut gate::ledger());
    gate::reset_current(0);
}

/// Sets whether devices can access each other's memory.
#[unsafe(no_mangle)]
extern "C" fn double_set_peers(reach: c_int) {
    gate::ledger().vmm.no_peers = reach == 0;
}

/// Hides a device from the list of devices; none if `device` is negative.
#[unsafe(no_mangle)]
extern "C" fn double_hide_device(device: c_int) {
    gate::ledger().hidden = Some(device).filter(|device| *device >= 0);
}

/// Makes a context the only one on this thread's stack, or empties the stack if `context` is 0.
#[unsafe(no_mangle)]
extern "C" fn double_set_current(context: u64) {
    gate::reset_current(context);
}

/// Sets the value that all devices report for an attribute from now on.
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
///
/// `sink` accepts `data`.
unsafe fn send(lines: impl IntoIterator<Item = String>, sink: Sink, data: *mut c_void) {
    for line in lines {
        // SAFETY: the caller guarantees that `sink` accepts `data`; the line lives until the call
        // returns.
        unsafe { sink(data, line.as_ptr(), line.len()) };
    }
}
