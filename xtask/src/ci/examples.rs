//! Checks the width of code in docs: docs.rs and crates.io cut off wider lines.

use std::path::Path;

/// The maximum number of columns in a line of code.
pub(super) const MAX_COLUMNS: usize = 80;

/// A line of a file that may contain displayed code.
#[derive(Debug, Clone, Copy)]
enum Line<'a> {
    /// A line of Markdown.
    Markdown(&'a str),
    /// An attribute that begins a code block. Several attributes that exclude each other can follow
    /// one another.
    Opens,
    /// Code, whatever the context.
    Code(&'a str),
    /// Any other line; ends the Markdown before it.
    Other,
}

/// Returns the numbers of the code lines that are too wide, for a page, the docs in a Rust file, or
/// a Rust file that docs include (`docs/*.rs`). In pages other than READMEs, commands and output
/// may be wider.
pub(super) fn wide_lines(path: &Path, text: &str) -> Vec<usize> {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_included = path.parent().is_some_and(|folder| folder.ends_with("docs"));
    let is_page = !is_rust && path.file_name().is_some_and(|name| name != "README.md");
    let kind = |line| match (is_rust, is_included) {
        (false, _) => Line::Markdown(line),
        (true, true) => Line::Code(line),
        (true, false) => line_of_rust(line),
    };
    // `Some` within a block: whether its lines are measured.
    let mut block = None;
    let mut is_wide = |line| {
        let code = match line {
            Line::Markdown(text) if text.trim_start().starts_with("```") => {
                let language = text.trim_start().trim_start_matches('`');
                block = if block.is_none() { Some(!is_page || is_source(language)) } else { None };
                return false;
            }
            Line::Markdown(text) if block == Some(true) => text,
            Line::Markdown(_) => return false,
            Line::Code(text) => text,
            Line::Opens | Line::Other => {
                block = matches!(line, Line::Opens).then_some(true);
                return false;
            }
        };
        code.chars().count() > MAX_COLUMNS
    };
    text.lines().zip(1..).filter(|(line, _)| is_wide(kind(line))).map(|(_, number)| number).collect()
}

/// Returns `true` for a block of source code, which readers copy.
fn is_source(language: &str) -> bool {
    ["rust", "python", "c", "cpp", "toml"].iter().any(|source| language.split(',').next() == Some(source))
}

/// Doc comments are Markdown. Lines that rustdoc hides count, because readers of the source see
/// them.
fn line_of_rust(line: &str) -> Line<'_> {
    let line = line.trim_start();
    if let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) {
        Line::Markdown(doc.strip_prefix(' ').unwrap_or(doc))
    } else if line.starts_with('#') && line.contains("doc = \"```") {
        Line::Opens
    } else {
        Line::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines that are too wide, after replacing each `W` by 81 columns and each `F` by
    /// 80.
    fn wide(path: &str, text: &str) -> Vec<usize> {
        wide_lines(
            Path::new(path),
            &text.replace('W', &"ü".repeat(MAX_COLUMNS + 1)).replace('F', &"ü".repeat(MAX_COLUMNS)),
        )
    }

    #[test]
    fn code_in_doc_comments_is_measured_without_its_prefix() {
        assert_eq!(wide("src/a.rs", "//! W\n//! ```\n//! F\n//! W\n//! ```\n//! W\n"), [4]);
        assert_eq!(wide("src/a.rs", "    /// ```no_run\n    /// # W\n    /// F\n    /// ```\n    /// W\n"), [2]);
    }

    #[test]
    fn other_lines_of_rust_are_not_measured_and_end_a_block() {
        assert_eq!(wide("src/a.rs", "// W\nlet a = W;\n/// ```\nfn a() {}\n/// W\n"), [0; 0]);
    }

    #[test]
    fn feature_gated_fences_open_one_block() {
        let text =
            "#![cfg_attr(a, doc = \"```no_run\")]\n#![cfg_attr(not(a), doc = \"```ignore\")]\n//! W\n//! ```\n//! W\n";
        assert_eq!(wide("src/lib.rs", text), [3]);
    }

    #[test]
    fn files_that_docs_include_are_code_and_readmes_have_some() {
        assert_eq!(wide("crates/a/docs/b.rs", "F\nW\n/// W\n"), [2, 3]);
        assert_eq!(wide("README.md", "W\n```sh\nW\nF\n```\nW\n"), [3]);
    }

    #[test]
    fn pages_have_wide_commands_and_no_wide_source() {
        let text = "W\n```sh\nW\n```\n```\nW\n```\n```rust,no_run\nW\nF\n```\n```python\nW\n```\nW\n";
        assert_eq!(wide("docs/page.md", text), [9, 13]);
    }
}
