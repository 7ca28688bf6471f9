//! Each kind of finding can be detected: the driver functions are called incorrectly. This shows
//! that a ledger without findings is meaningful.

use std::path::Path;
use std::process::Command;

use crate::common::finds::{SIZE, expect_findings, memory};
use crate::common::{kinds, os, raw};
#[cfg(windows)]
use driver_double::Double;

#[test]
fn correct_use_has_no_findings() {
    expect_findings("calls::correct_use_has_no_findings", &[], |double| {
        let memory = memory(double);
        let timeline = double.export_semaphore(true);
        let number = timeline.number;
        let timeline = raw::import_semaphore(timeline, true).unwrap();
        let address = raw::map(memory, 16, 64).unwrap();
        double.submit_signal(number, 1);
        assert_eq!(raw::wait(timeline, 1, 0), 0);
        assert_eq!(raw::fill(address, 64), 0);
        assert_eq!(raw::signal(timeline, 2, 0), 0);
        assert_eq!(double.value(number), 0, "the signal comes after the wait");
        double.complete_signal(number, 1);
        assert_eq!(double.value(number), 2);
        assert_eq!(raw::synchronize(), 0);
        assert_eq!([raw::free(address), raw::destroy_memory(memory), raw::destroy_semaphore(timeline)], [0; 3]);
        assert_eq!(raw::release(0), 0);
        crate::common::assert_clean(double);
    });
}

/// Findings are also written to the named file, for tests that do not query them. The variable is
/// set when the process starts, because the double's threads may read the environment at any time.
#[test]
fn findings_are_written_to_the_named_file() {
    const NAMED: &str = "DRIVER_DOUBLE_TEST_NAMED";
    let name = "calls::findings_are_written_to_the_named_file";
    let Some(file) = std::env::var_os(NAMED) else {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("findings");
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name]).env(NAMED, &file).env("DRIVER_DOUBLE_FINDINGS", &file);
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    expect_findings(name, &["use-after-destroy"], |double| {
        let memory = memory(double);
        assert_eq!(raw::destroy_memory(memory), 0);
        assert!(!Path::new(&file).exists(), "nothing is wrong so far");
        assert_ne!(raw::destroy_memory(memory), 0);
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(said.starts_with("use-after-destroy\t") && said.lines().count() == 1, "{said}");
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_descriptor_closed_twice() {
    expect_findings("calls::a_descriptor_closed_twice", &["double-close", "double-close"], |double| {
        let exported = double.export_memory(SIZE, false);
        let number = os::number(&exported);
        let memory = raw::import_memory(exported, SIZE, false).unwrap();
        os::close(number);
        assert_eq!(raw::destroy_memory(memory), 0);
        // The failed memory import has already closed it.
        let refused = double.export_semaphore(false);
        let number = os::number(&refused);
        double.fail_nth(1, 999, false);
        assert_eq!(raw::import_memory(refused, SIZE, false), Err(999));
        os::close(number);
    });
}

/// Closing a KMT handle is a finding, because the exporting side owns it.
#[test]
#[cfg(windows)]
fn a_kmt_handle_closed() {
    expect_findings("calls::a_kmt_handle_closed", &["double-close"], |double| {
        let [kept, closed] = [(); 2].map(|()| std::ptr::without_provenance_mut(share(double).cast_unsigned()));
        for kmt in [kept, closed] {
            let kind = Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT;
            raw::import_memory_as(kind, os::memory_handle(kmt), SIZE, false).unwrap();
        }
        os::close(closed);
    });
}

#[cfg(windows)]
use cuda_import::cudarc::driver::sys::CUexternalMemoryHandleType as Type;

#[cfg(windows)]
fn share(double: &Double) -> isize {
    double.share_memory(SIZE, false).kmt
}

/// A KMT number imported as a handle, and a handle imported as a KMT number, are findings.
#[test]
#[cfg(windows)]
fn a_handle_of_another_kind() {
    expect_findings("calls::a_handle_of_another_kind", &["wrong-object"; 2], |double| {
        let kmt = std::ptr::without_provenance_mut(share(double).cast_unsigned());
        assert_eq!(raw::import_memory_as(os::MEMORY, os::memory_handle(kmt), SIZE, false), Err(999));
        let exported = double.export_memory(SIZE, false);
        let kind = Type::CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32_KMT;
        assert_eq!(raw::import_memory_as(kind, os::memory_handle(os::number(&exported)), SIZE, false), Err(999));
    });
}

#[test]
fn descriptors_and_objects_leaked() {
    expect_findings("calls::descriptors_and_objects_leaked", &[], |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        let semaphore = double.export_semaphore(true);
        std::mem::forget(double.export_memory(SIZE, false));
        let duplicate = semaphore.handle.try_clone().unwrap();
        raw::import_semaphore(semaphore, true).unwrap();
        std::mem::forget(duplicate);
        let findings = double.findings_at_exit();
        let objects = ["object-leak"; 4].iter();
        assert_eq!(kinds(&findings), objects.chain(&["descriptor-leak"; 2]).copied().collect::<Vec<_>>());
        for (finding, kind) in findings.iter().zip(["mapping", "memory", "semaphore", "context"]) {
            assert!(finding.text.contains(kind), "{finding:?}");
        }
        double.forget();
        assert_eq!(double.live().len(), 2, "descriptors of others stay theirs");
    });
}

#[test]
fn use_after_destroy_and_of_unknown_handles() {
    let destroyed = ["use-after-destroy", "unknown-handle", "use-after-destroy", "use-after-destroy"];
    let expected = [&destroyed[..], &["unknown-handle", "out-of-bounds"]].concat();
    expect_findings("calls::use_after_destroy_and_of_unknown_handles", &expected, |double| {
        let memory = memory(double);
        let address = raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::fill(address, 8), 0);
        // Freeing a pointer that is not an allocation is an invalid-value error.
        assert_eq!([raw::free(address), raw::free(address), raw::free(8)], [0, 1, 1]);
        assert_eq!([raw::destroy_memory(memory), raw::destroy_memory(memory)], [0, 400]);
        assert_eq!(raw::map(memory, 0, 8), Err(400));
        assert_eq!(raw::destroy_semaphore(memory), 400);
        assert_eq!(raw::fill(address, 8), 1);
    });
}

#[test]
fn memory_destroyed_while_mapped() {
    expect_findings("calls::memory_destroyed_while_mapped", &["mapped-at-destroy"], |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::destroy_memory(memory), 0);
    });
}

#[test]
fn a_binary_wait_without_its_signal() {
    let expected = ["wait-before-signal", "wait-before-signal", "signal-over-signal"];
    expect_findings("calls::a_binary_wait_without_its_signal", &expected, |double| {
        let exported = double.export_semaphore(false);
        let number = exported.number;
        let semaphore = raw::import_semaphore(exported, false).unwrap();
        let (one, other) = (raw::create_stream().unwrap(), raw::create_stream().unwrap());
        raw::wait(semaphore, 0, one);
        // A signal allows one wait only; the second one is a finding.
        let exported = double.export_semaphore(false);
        let second = exported.number;
        let semaphore = raw::import_semaphore(exported, false).unwrap();
        double.signal(second, 0);
        assert_eq!([raw::wait(semaphore, 0, one), raw::wait(semaphore, 0, other)], [0; 2]);
        double.submit_signal(number, 0);
        double.submit_signal(number, 0);
    });
}

#[test]
fn a_timeline_that_does_not_rise() {
    expect_findings(
        "calls::a_timeline_that_does_not_rise",
        &["value-not-rising", "value-not-rising", "value-fell"],
        |double| {
            let exported = double.export_semaphore(true);
            let number = exported.number;
            let timeline = raw::import_semaphore(exported, true).unwrap();
            raw::signal(timeline, 5, 0);
            raw::signal(timeline, 5, 0);
            double.signal(number, 4);
        },
    );
}

/// Signals that complete out of order are findings. Their values increase when they are enqueued,
/// but on streams without an order between them.
#[test]
fn signals_that_complete_out_of_order() {
    expect_findings("calls::signals_that_complete_out_of_order", &["value-fell", "value-fell"], |double| {
        let exported = double.export_semaphore(true);
        let number = exported.number;
        let timeline = raw::import_semaphore(exported, true).unwrap();
        let gate = double.export_semaphore(true);
        let gate_number = gate.number;
        let gate = raw::import_semaphore(gate, true).unwrap();
        let [held, ahead] = [(); 2].map(|()| raw::create_stream().unwrap());
        assert_eq!([raw::wait(gate, 1, held), raw::signal(timeline, 1, held)], [0; 2]);
        assert_eq!(raw::signal(timeline, 2, ahead), 0);
        assert_eq!(double.value(number), 2);
        double.signal(gate_number, 1);
        assert_eq!(double.value(number), 1, "the later signal is undone");
        // The exporting side can cause the same finding.
        double.submit_signal(number, 3);
        double.submit_signal(number, 4);
        double.complete_signal(number, 4);
        double.complete_signal(number, 3);
    });
}

#[test]
fn a_wrong_size_and_a_wrong_flag() {
    let expected = ["size-differs", "dedicated-differs", "dedicated-differs"];
    expect_findings("calls::a_wrong_size_and_a_wrong_flag", &expected, |double| {
        let import = |dedicated, size, flag| raw::import_memory(double.export_memory(SIZE, dedicated), size, flag);
        // The calls succeed, as they do in the driver.
        import(false, SIZE * 16, false).unwrap();
        import(false, SIZE, true).unwrap();
        import(true, SIZE, false).unwrap();
        import(true, SIZE, true).unwrap();
    });
}

#[test]
fn a_descriptor_of_another_object() {
    expect_findings("calls::a_descriptor_of_another_object", &["wrong-object"; 4], |double| {
        let semaphore = double.export_semaphore(true);
        assert_eq!(raw::import_memory(semaphore, SIZE, false), Err(999));
        assert_eq!(raw::import_semaphore(double.export_memory(SIZE, false), true), Err(999));
        assert_eq!(raw::import_semaphore(double.export_semaphore(true), false), Err(999));
        assert_eq!(raw::import_semaphore(double.export_semaphore(false), true), Err(999));
    });
}

/// Memory can be imported on its own GPU only; semaphores on any (measured).
#[test]
fn memory_of_another_device() {
    expect_findings("calls::memory_of_another_device", &["wrong-device", "wrong-device"], |double| {
        let elsewhere = double.exporter(1);
        assert_eq!(raw::import_memory(elsewhere.export_memory(SIZE, false), SIZE, false), Err(999));
        raw::retain(1);
        let home = raw::import_memory(elsewhere.export_memory(SIZE, false), SIZE, false);
        assert_eq!(raw::destroy_memory(home.unwrap()), 0);
        assert_eq!(raw::import_memory(double.export_memory(SIZE, false), SIZE, false), Err(999));
        let semaphore = raw::import_semaphore(double.export_semaphore(true), true).unwrap();
        assert_eq!(raw::destroy_semaphore(semaphore), 0);
    });
}

#[test]
fn no_context_and_a_wrong_context() {
    let expected = ["no-context", "wrong-context", "wrong-context", "use-after-destroy"];
    expect_findings("calls::no_context_and_a_wrong_context", &expected, |double| {
        let memory = memory(double);
        let address = raw::map(memory, 0, 8).unwrap();
        double.set_current(0);
        assert_eq!(raw::free(address), 201);
        raw::retain(1);
        assert_eq!(raw::free(address), 201);
        assert_eq!(raw::destroy_memory(memory), 201);
        raw::release(1);
        assert_eq!(raw::free(address), 400, "the current context is gone");
    });
}

#[test]
fn a_context_released_too_early() {
    let expected = ["outlives-context", "outlives-context", "use-after-destroy"];
    expect_findings("calls::a_context_released_too_early", &expected, |double| {
        let memory = memory(double);
        raw::map(memory, 0, 8).unwrap();
        assert_eq!(raw::release(0), 0);
        assert_eq!(raw::release(0), 201);
    });
}

#[test]
fn a_mapping_freed_in_stream_order() {
    expect_findings("calls::a_mapping_freed_in_stream_order", &["async-free-of-mapping"], |double| {
        let address = raw::map(memory(double), 0, 8).unwrap();
        assert_eq!(raw::free_async(address), 1);
    });
}

#[test]
fn the_nth_call_fails() {
    expect_findings("calls::the_nth_call_fails", &[], |double| {
        double.fail_nth(2, 700, false);
        assert_eq!([raw::synchronize(), raw::synchronize(), raw::synchronize()], [0, 700, 0]);
        assert_eq!(double.disarm().unwrap().name, "cuCtxSynchronize");
        double.fail_nth(2, 700, false);
        assert_eq!(raw::synchronize(), 0);
        assert_eq!(double.disarm(), None);
        assert_eq!(raw::synchronize(), 0);
    });
}
