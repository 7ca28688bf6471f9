//! Faults of NVIDIA GPUs in the kernel log.

use std::process::Command;

use serde::Serialize;

/// A kind of fault that NVIDIA's kernel module reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Xid {
    /// The number of the fault kind.
    pub number: u32,
    /// Number of occurrences in the log.
    pub times: usize,
    /// The last log line with this number.
    pub last: String,
}

/// Returns the faults in the kernel log; empty if this user may not read it.
pub(super) fn in_kernel_log() -> Vec<Xid> {
    let output = Command::new("dmesg").output().ok().filter(|output| output.status.success());
    output.map(|output| parse(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// Parses lines such as `NVRM: Xid (PCI:0000:01:00): 109, pid=17, name=demo, Ch 00000008,
/// errorString CTX SWITCH TIMEOUT`.
fn parse(log: &str) -> Vec<Xid> {
    let mut found: Vec<Xid> = Vec::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("NVRM: Xid (") else { continue };
        let Some((_, rest)) = rest.split_once("): ") else { continue };
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let Ok(number) = digits.parse() else { continue };
        let last = line.trim().to_owned();
        match found.iter_mut().find(|xid| xid.number == number) {
            Some(xid) => (xid.times, xid.last) = (xid.times + 1, last),
            None => found.push(Xid { number, times: 1, last }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_number() {
        let log = "[1.0] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.86.15\n\
            [2.0] NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=demo, Ch 00000008, intr 00000000. MMU Fault\n\
            [3.0] NVRM: Xid (PCI:0000:01:00): 109, pid=8, name=demo, Ch 00000008, errorString CTX SWITCH TIMEOUT\n\
            [4.0] NVRM: Xid (PCI:0000:02:00): 109, pid=9, name=demo, Ch 00000008, errorString CTX SWITCH TIMEOUT\n";
        let found = parse(log);
        let counts: Vec<_> = found.iter().map(|xid| (xid.number, xid.times)).collect();
        assert_eq!(counts, [(31, 1), (109, 2)]);
        assert!(found[1].last.contains("pid=9"));
        assert!(parse("NVRM: Xid (broken\nNVRM: Xid (PCI): x").is_empty());
    }
}
