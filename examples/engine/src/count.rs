//! Counts the lines of each system that are specific to the bridge: those of its file `shared.rs`.

use std::fmt;

/// The counts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The name of the system, or of the file that all systems share.
    pub name: &'static str,
    /// Lines of code, including `use`, without blank lines and comments.
    pub lines: usize,
    /// The number of `unsafe` blocks.
    pub unsafe_blocks: usize,
}

/// The file of each system.
pub const SYSTEMS: [(&str, &str); 3] = [
    ("particles", include_str!("particles/shared.rs")),
    ("painting", include_str!("painting/shared.rs")),
    ("filter", include_str!("filter/shared.rs")),
];

/// The files that all systems share.
pub const ONCE: [(&str, &str); 2] = [("adopt", include_str!("adopt.rs")), ("splice", include_str!("splice.rs"))];

/// Counts the lines and blocks of a file.
pub fn count((name, source): (&'static str, &str)) -> Count {
    let code = || source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let unsafe_blocks = code().map(|line| line.matches("unsafe {").count()).sum();
    Count { name, lines: code().count(), unsafe_blocks }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, lines, unsafe_blocks } = self;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let (line, block) = (plural(*lines), plural(*unsafe_blocks));
        write!(f, "{name}: {lines} line{line}, {unsafe_blocks} unsafe block{block}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_not_counted() {
        let source = "//! A file.\n\nfn f() {\n    // SAFETY: fine.\n    unsafe { g() };\n}\n";
        assert_eq!(count(("f", source)), Count { name: "f", lines: 3, unsafe_blocks: 1 });
    }

    /// Without this, the count would be incomplete.
    #[test]
    fn a_system_names_the_bridge_nowhere_else() {
        let engine_side =
            [include_str!("particles/mod.rs"), include_str!("painting/mod.rs"), include_str!("filter/mod.rs")];
        for source in engine_side {
            let named: Vec<_> = source.lines().filter(|line| line.contains("bridge::")).collect();
            assert_eq!(named, ["use bridge::Compute;"]);
        }
    }

    #[test]
    fn the_core_does_not_depend_on_the_bridge() {
        let manifest = include_str!("../core/Cargo.toml");
        let names_it = |line: &str| line.contains("bridge") || line.contains("export") || line.contains("cuda");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        assert!(!dependencies.lines().any(names_it), "{dependencies}");
    }
}
