//! The lengths of source files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The most lines of a Rust file.
const MOST: usize = 350;

const FOLDERS: [&str; 8] = ["adapters", "benches", "crates", "examples", "python", "tests", "tools", "xtask"];

/// Fails for Rust files in the current folder that are too long.
pub(super) fn check() -> Result<()> {
    let mut long = Vec::new();
    FOLDERS.iter().try_for_each(|folder| visit(Path::new(folder), &mut long))?;
    let named: Vec<_> = long.iter().map(|(path, lines)| format!("    {} has {lines}", path.display())).collect();
    ensure!(long.is_empty(), "files of more than {MOST} lines, to be split by subject:\n{}", named.join("\n"));
    Ok(())
}

/// Adds the files in a folder that are too long, with their numbers of lines.
fn visit(folder: &Path, long: &mut Vec<(PathBuf, usize)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            // Build outputs, and hidden folders such as those of Python environments.
            if name != "target" && !name.starts_with('.') {
                visit(&path, long)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let lines = lines.iter().filter(|byte| **byte == b'\n').count();
            if lines > MOST {
                long.push((path, lines));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_named_and_build_outputs_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: usize| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "\n".repeat(lines)).unwrap();
            path
        };
        write("src/short.rs", MOST);
        write("src/long.txt", MOST + 1);
        write("target/made.rs", MOST + 1);
        let file = write("src/deep/long.rs", MOST + 1);
        let mut long = Vec::new();
        visit(folder.path(), &mut long).unwrap();
        assert_eq!(long, [(file, MOST + 1)]);
    }
}
