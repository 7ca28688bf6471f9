//! The paths in a Rust file that rustfmt has formatted.

use std::collections::HashSet;

/// A file and its imports.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) imports: Vec<Import>,
    /// The identifiers outside `use` items.
    pub(super) words: HashSet<String>,
    /// The modules that the file declares for tests.
    pub(super) tests: HashSet<String>,
}

/// A path in a `use` or elsewhere.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The name of the item in this file.
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) binds: bool,
    pub(super) exported: bool,
}

impl Source {
    pub(super) fn parse(name: &str, text: &str) -> Self {
        let mut source =
            Self { name: name.to_owned(), imports: Vec::new(), words: HashSet::new(), tests: HashSet::new() };
        let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default()).zip(1..);
        let mut inline = None;
        while let Some((line, number)) = lines.next() {
            let code = line.trim();
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let is_cfg = code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test,");
            if is_cfg {
                let mut item = lines.by_ref().map(|(line, _)| line).skip_while(|line| line.trim().starts_with('#'));
                let first = item.next().unwrap_or_default().trim_end();
                source
                    .tests
                    .extend(first.split("mod ").nth(1).map(|name| name.trim_end_matches([';', '{', ' ']).into()));
                if !first.ends_with([';', ',', '}']) {
                    item.find(|line| line.starts_with(&end));
                }
            } else if code.starts_with("use ") || (code.starts_with("pub") && code.contains(" use ")) {
                let mut tree = code.to_owned();
                while !tree.ends_with(';') {
                    let Some((line, _)) = lines.next() else { break };
                    tree.push_str(line.trim());
                }
                let (head, tree) = tree.split_once("use ").unwrap_or_default();
                source.import(&[], tree.trim_end_matches(';'), number, !head.is_empty());
            } else if code.contains("mod ") && code.ends_with('{') {
                inline = Some(end);
            } else if inline.as_ref().is_some_and(|end| line.starts_with(end)) {
                inline = None;
            } else {
                // `$crate` in a macro is a path for other packages.
                let path = |c: char| c.is_alphanumeric() || ['_', ':', '$'].contains(&c);
                for path in code.split(|c| !path(c)).map(|path| path.trim_matches(':')).filter(|path| !path.is_empty())
                {
                    source.words.extend(path.split("::").map(str::to_owned));
                    if path.contains("::") {
                        source.add(path.split("::").map(str::to_owned).collect(), None, number, (false, false));
                    }
                }
            }
            let of_line = source.imports.iter_mut().rev().take_while(|import| import.line == number);
            for import in of_line.filter(|_| inline.is_some()) {
                if import.path[0] == "super" {
                    import.path[0] = "self".to_owned();
                }
                import.binds = false;
            }
        }
        source
    }

    /// Adds the paths of a `use` tree.
    fn import(&mut self, prefix: &[String], tree: &str, line: usize, exported: bool) {
        let (head, group) = tree.split_once('{').unwrap_or((tree, ""));
        let (head, alias) = head.split_once(" as ").map_or((head, None), |(head, alias)| (head, Some(alias.trim())));
        let mut path = prefix.to_vec();
        path.extend(head.split("::").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
        if group.is_empty() {
            if path.len() > 1 {
                path.pop_if(|last| last == "self");
            }
            return self.add(path, alias, line, (true, exported));
        }
        let mut depth = 0;
        let leaves = &group[..group.rfind('}').unwrap_or(group.len())];
        let separates = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        for leaf in leaves.split(separates).filter(|leaf| !leaf.trim().is_empty()) {
            self.import(&path, leaf.trim(), line, exported);
        }
    }

    fn add(&mut self, path: Vec<String>, alias: Option<&str>, line: usize, (binds, exported): (bool, bool)) {
        let name = alias.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
        self.imports.push(Import { path, name, line, binds, exported });
    }
}
