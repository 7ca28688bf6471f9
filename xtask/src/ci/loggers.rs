//! Checks that library crates call the program's logger, which may panic, only through isolating
//! macros.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The modules that call the logger directly and catch its panics.
const ISOLATED: [&str; 3] =
    ["crates/bridge-trace/src/isolated.rs", "crates/cuda-import/src/logging.rs", "crates/vk-export/src/logging.rs"];

/// Fails if other modules in the crates of the current folder call the logger directly.
pub(super) fn check() -> Result<()> {
    let mut raw = Vec::new();
    for entry in fs::read_dir("crates").context("cannot read crates")? {
        let sources = entry?.path().join("src");
        visit(&sources, &mut raw)?;
    }
    ensure!(
        raw.is_empty(),
        "a logger that panics between a driver call and its bookkeeping breaks that; call the `log_*` macros of {} in place of\n{}",
        ISOLATED.join(", "),
        raw.join("\n")
    );
    Ok(())
}

/// Adds the lines of a folder's files that call the logger directly.
fn visit(folder: &Path, raw: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, raw)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !ISOLATED.iter().any(|of| path.ends_with(of))
        {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = text.lines().enumerate().filter(|(_, line)| calls_logger(line));
            raw.extend(lines.map(|(number, line)| format!("    {}:{}: {}", path.display(), number + 1, line.trim())));
        }
    }
    Ok(())
}

/// Returns `true` if a line of code calls one of the macros of `log`, or imports them.
fn calls_logger(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let is_call =
        ["error", "warn", "info", "debug", "trace", "log"].iter().any(|of| code.contains(&format!("log::{of}!")));
    let imports = code.trim_start().starts_with("use log::") || code.contains("extern crate log");
    is_call || imports || code.contains("log::logger()")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_detected_and_a_mention_is_not() {
        for line in [
            "log::error!(\"{error}\")",
            "    Err(error) => ::log::warn!(",
            "use log::{error, info};",
            "log::logger().flush()",
        ] {
            assert!(calls_logger(line), "{line}");
        }
        for line in [
            "log_error!(\"{error}\")",
            "/// `log::error!`, isolated.",
            "fn log(level: log::Level) {",
            "// log::info!(1)",
        ] {
            assert!(!calls_logger(line), "{line}");
        }
    }

    #[test]
    fn files_and_lines_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "//! One.\nlog::error!(\"two\");\n").unwrap();
        };
        write("crates/vk-export/src/logging.rs");
        write("crates/vk-export/src/device/queue.rs");
        let mut raw = Vec::new();
        visit(folder.path(), &mut raw).unwrap();
        assert_eq!(raw.len(), 1);
        assert!(raw[0].ends_with("crates/vk-export/src/device/queue.rs:2: log::error!(\"two\");"), "{raw:?}");
    }
}
