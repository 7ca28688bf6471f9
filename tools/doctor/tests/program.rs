#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]
//! Tests of the doctor program.

/// Returns the path of the program. It is next to the test if both were copied to another machine.
#[cfg(target_os = "linux")]
fn doctor() -> std::path::PathBuf {
    let beside = std::env::current_exe().unwrap().with_file_name("doctor");
    let built = std::path::PathBuf::from(env!("CARGO_BIN_EXE_doctor"));
    if built.exists() { built } else { beside }
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_cannot_be_printed_has_its_own_exit_code() {
    use std::fs;
    use std::process::{Command, Stdio};

    let doctor = doctor();
    for arguments in [&["--json"][..], &[]] {
        let run = |stdout: Stdio| Command::new(&doctor).args(arguments).stdout(stdout).output().unwrap();
        let output = run(fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(74) && error.contains("standard output"), "{arguments:?}: {error}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= 2) && !error.contains("panicked"), "{error}");
    }
}

/// If sharing works within one process but not between two, the report explains why.
#[cfg(target_os = "linux")]
#[test]
fn missing_support_between_processes_is_reported() {
    use std::process::Command;

    // Returns `None` if no trial passes, for example without a device.
    let report = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(doctor()).output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let passed = report["trials"].as_array().unwrap().iter().any(|trial| trial["failure"].is_null());
        passed.then_some(report)
    };
    let cases = [
        ("exec \"$1\" --json", None),
        ("TMPDIR=/no/such/folder exec \"$1\" --json", Some(("folder", "TMPDIR"))),
        // The file size limit also applies to memory files.
        ("trap '' XFSZ; ulimit -f 0; exec \"$1\" --json | cat", Some(("memory", "memfd_create"))),
    ];
    for (script, expected) in cases {
        let Some(report) = report(script) else { return };
        // CUDA trials are ignored: they use no memory files, and a GPU may be hidden from CUDA.
        let trials = report["processes"].as_array().unwrap().iter().filter(|trial| trial["backend"] == "host");
        let trials: Vec<_> = trials.collect();
        let directions: Vec<_> = trials.iter().map(|trial| trial["direction"].as_str().unwrap()).collect();
        assert!(directions.contains(&"worker-writes") && directions.contains(&"worker-reads"), "{report:#}");
        let told = report["advice"].as_array().unwrap();
        match expected {
            None => {
                assert!(trials.iter().all(|trial| trial["failure"].is_null() && trial["frames"] == 8), "{report:#}")
            }
            Some((problem, advice)) => {
                let failed = trials.iter().all(|trial| trial["failure"]["problem"] == problem);
                let told = told.iter().any(|told| told["action"].as_str().unwrap().contains(advice));
                assert!(failed && told, "{report:#}");
            }
        }
        // The trials with two processes do not affect the verdict.
        let code = report["verdict"]["exit_code"].as_u64().unwrap();
        assert!(code < 2, "{report:#}");
    }
}
