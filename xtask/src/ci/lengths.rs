//! Checks the length of source files and the width of code lines in docs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::examples::{MAX_COLUMNS, wide_lines};

/// The maximum number of lines in a Rust file.
const MAX_LINES: usize = 350;

const FOLDERS: [&str; 9] = ["adapters", "benches", "crates", "docs", "examples", "python", "tests", "tools", "xtask"];

/// Fails if a Rust file in the current folder is too long, or if code in docs or pages is too wide.
pub(super) fn check() -> Result<()> {
    let mut found = Found::default();
    FOLDERS.iter().try_for_each(|folder| found.visit(Path::new(folder)))?;
    found.read(Path::new("README.md"))?;
    let Found { long, wide } = found;
    let named: Vec<_> = long.iter().map(|(path, lines)| format!("    {} has {lines}", path.display())).collect();
    ensure!(long.is_empty(), "files of more than {MAX_LINES} lines, to be split by subject:\n{}", named.join("\n"));
    let named: Vec<_> = wide.iter().map(|(path, line)| format!("    {}:{line}", path.display())).collect();
    ensure!(wide.is_empty(), "code in docs of more than {MAX_COLUMNS} columns:\n{}", named.join("\n"));
    Ok(())
}

#[derive(Debug, Default)]
struct Found {
    /// The Rust files that are too long, with their line counts.
    long: Vec<(PathBuf, usize)>,
    /// The code lines in docs that are too wide, as file and line number.
    wide: Vec<(PathBuf, usize)>,
}

impl Found {
    /// Adds the Rust files and the pages in a folder.
    fn visit(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_page = path.extension().is_some_and(|extension| extension == "md");
            if path.is_dir() {
                // Skips build outputs, and hidden folders such as Python environments.
                if name != "target" && !name.starts_with('.') {
                    self.visit(&path)?;
                }
            } else if is_page || is_rust(&path) {
                self.read(&path)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().count();
        if is_rust(path) && lines > MAX_LINES {
            self.long.push((path.to_owned(), lines));
        }
        self.wide.extend(wide_lines(path, &text).into_iter().map(|line| (path.to_owned(), line)));
        Ok(())
    }
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_too_long_are_reported_except_build_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: usize| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "\n".repeat(lines)).unwrap();
            path
        };
        write("src/short.rs", MAX_LINES);
        write("src/long.txt", MAX_LINES + 1);
        write("target/made.rs", MAX_LINES + 1);
        let file = write("src/deep/long.rs", MAX_LINES + 1);
        let mut found = Found::default();
        found.visit(folder.path()).unwrap();
        assert_eq!(found.long, [(file, MAX_LINES + 1)]);
    }

    #[test]
    fn code_that_is_too_wide_is_reported_in_docs_and_readmes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let wide = "a".repeat(MAX_COLUMNS + 1);
        let doc = write("a/docs/example.rs", format!("\n{wide}\n"));
        let readme = write("a/README.md", format!("```\n{wide}\n```\n"));
        write("a/NOTES.md", format!("```\n{wide}\n```\n"));
        let mut found = Found::default();
        found.visit(folder.path()).unwrap();
        found.wide.sort();
        assert_eq!(found.wide, [(readme, 2), (doc, 2)]);
    }
}
