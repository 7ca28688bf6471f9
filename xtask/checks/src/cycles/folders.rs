//! Import cycles between the top-level modules of a crate: the files and folders right under `src`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Package, resolved};

/// A file that imports another top-level module, although that closes a cycle.
pub(super) struct Allowed {
    pub(super) file: &'static str,
    /// The imported module, without `.rs`.
    pub(super) module: &'static str,
    /// The reason why the import is kept.
    pub(super) reason: &'static str,
}

impl Allowed {
    fn covers(&self, import: &FolderImport) -> bool {
        import.file == self.file && import.to == self.module
    }
}

/// An import of an item of another top-level module. Modules are named by their paths, without
/// `.rs`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FolderImport {
    from: String,
    to: String,
    file: String,
    line: usize,
    path: String,
}

/// Returns the imports between the top-level modules of a package, whose files are in the folder
/// `source`. The root of the crate is none of these modules.
pub(super) fn folder_imports(package: &Package, source: &str) -> Vec<FolderImport> {
    let mut imports = Vec::new();
    for (module, file, import, target) in resolved(package) {
        if let (Some(from), Some(to)) = (module.first(), target.first())
            && from != to
        {
            let named = |module: &String| format!("{source}{module}");
            imports.push(FolderImport {
                from: named(from),
                to: named(to),
                file: file.name.clone(),
                line: import.line,
                path: import.path.join("::"),
            });
        }
    }
    imports
}

/// Returns the cycles that are left without the allowed imports, and the entries of `allowed` that
/// close no further cycle, each as text.
pub(super) fn problems(imports: &[FolderImport], allowed: &[Allowed]) -> Vec<String> {
    let mut problems = Vec::new();
    let without = |entries: &dyn Fn(&Allowed) -> bool| -> Vec<&FolderImport> {
        let is_kept = |import: &&FolderImport| !allowed.iter().any(|entry| entries(entry) && entry.covers(import));
        imports.iter().filter(is_kept).collect()
    };
    let kept = without(&|_| true);
    for set in connected(&kept) {
        let inner = kept.iter().copied().filter(|import| set.contains(&*import.from) && set.contains(&*import.to));
        problems.push(shown(&set, inner));
    }
    for entry in allowed {
        let alone = without(&|other| !std::ptr::eq(entry, other));
        let sets = connected(&alone);
        let closes = |import: &FolderImport| {
            entry.covers(import) && sets.iter().any(|set| set.contains(&*import.from) && set.contains(&*import.to))
        };
        if !alone.iter().any(|import| closes(import)) {
            problems.push(format!(
                "    {} may import {} ({}), but closes no cycle by it: remove the entry",
                entry.file, entry.module, entry.reason
            ));
        }
    }
    problems
}

/// Returns the layers of the packages as text: each top-level module stands below all that import
/// it, except by an allowed import.
pub(super) fn layers(imports: &[FolderImport], allowed: &[Allowed]) -> String {
    let is_kept = |import: &&FolderImport| !allowed.iter().any(|entry| entry.covers(import));
    let kept: Vec<_> = imports.iter().filter(is_kept).collect();
    let mut depths: BTreeMap<&str, usize> = modules(&kept).into_iter().map(|module| (module, 0)).collect();
    for _ in 0..depths.len() {
        for import in &kept {
            let below = depths[&*import.from] + 1;
            depths.entry(&import.to).and_modify(|depth| *depth = below.max(*depth));
        }
    }
    let mut packages = BTreeMap::<&str, BTreeMap<usize, Vec<&str>>>::new();
    for (module, depth) in depths {
        let (package, name) = module.rsplit_once("/src/").unwrap_or(("", module));
        packages.entry(package).or_default().entry(depth).or_default().push(name);
    }
    let mut text = String::new();
    for (package, layers) in packages {
        let layers: Vec<_> = layers.values().map(|layer| format!("    {}", layer.join(", "))).collect();
        text += &format!("{package}, top to bottom:\n{}\n", layers.join("\n"));
        let upward = allowed.iter().filter(|entry| entry.file.starts_with(&format!("{package}/")));
        text.extend(upward.map(|entry| format!("    upward: {} imports {}\n", entry.file, entry.module)));
    }
    text
}

/// Returns a set as text, with the first import of each file by pair of modules, those pairs first
/// that the fewest files import.
fn shown<'a>(set: &BTreeSet<&str>, imports: impl Iterator<Item = &'a FolderImport>) -> String {
    let mut pairs = BTreeMap::<_, BTreeMap<_, _>>::new();
    for import in imports {
        pairs.entry((&import.from, &import.to)).or_default().entry(&import.file).or_insert(import);
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(_, files)| files.len());
    let mut text = format!("    {}:", Vec::from_iter(set.iter().copied()).join(", "));
    for ((from, to), files) in pairs {
        text += &format!("\n      {from} imports {to}:");
        for import in files.values() {
            text += &format!("\n        {}:{} imports {}", import.file, import.line, import.path);
        }
    }
    text
}

fn modules<'a>(imports: &[&'a FolderImport]) -> BTreeSet<&'a str> {
    imports.iter().flat_map(|import| [&*import.from, &*import.to]).collect()
}

/// Returns the sets of two or more modules of which each imports each other, directly or by way of
/// other modules.
fn connected<'a>(imports: &[&'a FolderImport]) -> BTreeSet<BTreeSet<&'a str>> {
    let reachable = |from: &'a str| {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![from]);
        while let Some(at) = queue.pop() {
            let next = imports.iter().filter(|import| import.from == at).map(|import| &*import.to);
            queue.extend(next.filter(|to| seen.insert(*to)));
        }
        seen
    };
    let reached: BTreeMap<_, _> = modules(imports).into_iter().map(|module| (module, reachable(module))).collect();
    let of = |(module, others): (&&'a str, &BTreeSet<&'a str>)| {
        others.iter().copied().filter(|other| reached[other].contains(module)).collect::<BTreeSet<_>>()
    };
    reached.iter().map(of).filter(|set| set.len() > 1).collect()
}
