//! Import cycles between the modules of a folder: its files and its subfolders.

use std::collections::{BTreeMap, BTreeSet};

use super::{Package, resolved};

/// An import of an item of another module: the modules of the innermost folder that contains both
/// files. Modules are named by their paths, without `.rs`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FolderImport {
    from: String,
    to: String,
    file: String,
    line: usize,
    path: String,
}

/// Returns the imports between the modules of each folder of a package, whose files are in the
/// folder `source`. The `mod.rs` of a folder, or the root of the crate, is none of its modules.
pub(super) fn folder_imports(package: &Package, source: &str) -> Vec<FolderImport> {
    let mut imports = Vec::new();
    for (module, file, import, target) in resolved(package) {
        let common = module.iter().zip(&target).take_while(|(from, to)| from == to).count();
        if module.len() > common && target.len() > common {
            let named = |path: &[String]| format!("{source}{}", path[..=common].join("/"));
            imports.push(FolderImport {
                from: named(module),
                to: named(&target),
                file: file.name.clone(),
                line: import.line,
                path: import.path.join("::"),
            });
        }
    }
    imports
}

/// Returns the cycles, each as text.
pub(super) fn problems(imports: &[FolderImport]) -> Vec<String> {
    let imports: Vec<_> = imports.iter().collect();
    let shown = |set: BTreeSet<&str>| {
        let inner = imports.iter().copied().filter(|import| set.contains(&*import.from) && set.contains(&*import.to));
        shown(&set, inner)
    };
    connected(&imports).into_iter().map(shown).collect()
}

/// Returns the layers of each folder as text: each module stands below all that import it.
pub(super) fn layers(imports: &[FolderImport]) -> String {
    let imports: Vec<_> = imports.iter().collect();
    let mut depths: BTreeMap<&str, usize> = modules(&imports).into_iter().map(|module| (module, 0)).collect();
    for _ in 0..depths.len() {
        for import in &imports {
            let below = depths[&*import.from] + 1;
            depths.entry(&import.to).and_modify(|depth| *depth = below.max(*depth));
        }
    }
    let split = |module| str::rsplit_once(module, '/').unwrap_or(("", module));
    let mut folders = BTreeMap::<&str, BTreeMap<usize, Vec<&str>>>::new();
    for (module, depth) in depths {
        let (folder, name) = split(module);
        folders.entry(folder).or_default().entry(depth).or_default().push(name);
    }
    let mut text = String::new();
    for (folder, layers) in folders {
        let layers: Vec<_> = layers.values().map(|layer| format!("    {}", layer.join(", "))).collect();
        text += &format!("{folder}, top to bottom:\n{}\n", layers.join("\n"));
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
