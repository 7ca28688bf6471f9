//! Import cycles between the files of a package, import cycles between the modules of a folder (its
//! files and its subfolders), and imports through the root of a crate.
//!
//! A file imports another file if it names an item of that file by path, in a `use` or elsewhere. A
//! path through a re-export leads to the file of the item; the re-exporting file imports that file
//! only if it also uses the item. Imports from the modules that contain a file do not count, and
//! neither do tests.
//!
//! An import through the root names a re-export of `lib.rs` instead of the module that defines the
//! item.

mod folders;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use source::{Import, Source};

const FOLDERS: [&str; 8] = ["adapters", "benches", "crates", "examples", "python", "tests", "tools", "xtask"];

/// The folder of the crates, in which the modules of a folder must not have import cycles.
const LAYERED: &str = "crates";

/// The folders whose packages must not import through the root of the crate.
const ROOTED: [&str; 3] = ["crates", "python", "tests/double"];

/// The lowest folders of packages, whose files import no file outside, except the one named.
const LOWEST: [(&str, &str); 1] = [("crates/cuda-import/src/sys/", "crates/cuda-import/src/logging.rs")];

/// Pairs of files, with the line of the first import of the second file in the first one.
type Imports = BTreeMap<(String, String), usize>;

/// The files of a package, by module path.
type Package = BTreeMap<Vec<String>, Source>;

/// Prints the layers of the crates: the modules of each folder, from top to bottom.
pub(crate) fn layers() -> Result<()> {
    let mut imports = Vec::new();
    visit(Path::new(LAYERED), &mut |folder, package| imports.extend(folder_imports(folder, package)))?;
    crate::console::print(&folders::layers(&imports))?;
    Ok(())
}

/// Fails if a package in the current folder has an import cycle, or an import through the root of
/// its crate.
pub(crate) fn run() -> Result<()> {
    let (mut imports, mut between_folders, mut rooted, mut packages) = (Imports::new(), Vec::new(), Vec::new(), 0);
    for folder in FOLDERS {
        visit(Path::new(folder), &mut |folder, package| {
            imports.extend(imports_of(package));
            if folder.starts_with(LAYERED) {
                between_folders.extend(folder_imports(folder, package));
            }
            if ROOTED.iter().any(|rooted| folder.starts_with(rooted)) {
                rooted.extend(through_root(package));
            }
            packages += 1;
        })?;
    }
    if !rooted.is_empty() {
        bail!("imports through the root of the crate; name the module that defines the item:\n{}", rooted.join("\n"));
    }
    let upward = upward(&imports);
    if !upward.is_empty() {
        bail!("imports of higher files in the lowest folder of a package:\n{}", upward.join("\n"));
    }
    let cycles = cycles(&imports);
    if !cycles.is_empty() {
        bail!("import cycles between files:\n{}", cycles.join("\n"));
    }
    let problems = folders::problems(&between_folders);
    if !problems.is_empty() {
        bail!("import cycles between folders (see CONTRIBUTING.md):\n{}", problems.join("\n"));
    }
    crate::console::line(format_args!("cycles: none in {packages} packages"))?;
    Ok(())
}

fn folder_imports(folder: &Path, package: &Package) -> Vec<folders::FolderImport> {
    folders::folder_imports(package, &slashed(&folder.join("src/")))
}

fn slashed(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}

/// Passes all packages in a folder and its subfolders to `found`, each with its folder.
fn visit(folder: &Path, found: &mut dyn FnMut(&Path, &Package)) -> Result<()> {
    if folder.join("Cargo.toml").is_file() && folder.join("src").is_dir() {
        let mut package = Package::new();
        read(&folder.join("src"), &[], &mut package)?;
        found(folder, &package);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !["src", "target"].iter().any(|name| path.ends_with(name)) {
            visit(&path, found)?;
        }
    }
    Ok(())
}

fn read(folder: &Path, module: &[String], package: &mut Package) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_root = ["lib", "main", "mod"].contains(&stem.as_str());
        let inner = if is_root { module.to_vec() } else { [module, &[stem]].concat() };
        if path.is_dir() {
            read(&path, &inner, package)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            package.insert(inner, Source::parse(&slashed(&path), &text));
        }
    }
    Ok(())
}

/// Returns the files of a package without those of its tests.
fn outside_tests(package: &Package) -> impl Iterator<Item = (&Vec<String>, &Source)> {
    let is_of_tests = |module: &[String]| {
        let declared = |at| package.get(&module[..at]).is_some_and(|file: &Source| file.tests.contains(&module[at]));
        (0..module.len()).any(declared)
    };
    // The others are declared with `#[path]`.
    let is_named = |file: &Source| file.name.ends_with("_tests.rs");
    package.iter().filter(move |(module, file)| !is_of_tests(module) && !is_named(file))
}

/// Returns a line for each import of a re-export of the root.
fn through_root(package: &Package) -> Vec<String> {
    let Some(root) = package.get(&[] as &[String]) else { return Vec::new() };
    let is_exported = |name: &String| root.imports.iter().any(|import| import.binds && import.name == *name);
    let mut lines = Vec::new();
    for (module, file) in outside_tests(package).filter(|(module, _)| !module.is_empty()) {
        for import in &file.imports {
            let parents = import.path.iter().take_while(|name| *name == "super").count();
            let is_of_root = import.path[0] == "crate" || parents == module.len();
            let name = import.path.get(parents.max(1)).filter(|_| is_of_root);
            if let Some(name) = name.filter(|name| !package.contains_key(&[String::clone(name)] as &[String]))
                && is_exported(name)
            {
                lines.push(format!("    {}:{} imports {name}", file.name, import.line));
            }
        }
    }
    lines
}

/// Returns a line for each import of a file outside a folder of [`LOWEST`] within it.
fn upward(imports: &Imports) -> Vec<String> {
    let is_upward = |from: &str, to: &str| {
        LOWEST.iter().any(|(folder, allowed)| from.starts_with(folder) && !to.starts_with(folder) && to != *allowed)
    };
    let upward = imports.iter().filter(|((from, to), _)| is_upward(from, to));
    upward.map(|((from, to), line)| format!("    {from}:{line} imports {to}")).collect()
}

fn imports_of(package: &Package) -> Imports {
    let mut imports = Imports::new();
    for (module, file, import, target) in resolved(package) {
        if !module.starts_with(&target) {
            imports.entry((file.name.clone(), package[&target].name.clone())).or_insert(import.line);
        }
    }
    imports
}

/// Returns the imports of items of a package, except re-exports that the exporting file does not
/// use: the module and its file, the import, and the module of the item.
fn resolved(package: &Package) -> impl Iterator<Item = (&[String], &Source, &Import, Vec<String>)> {
    outside_tests(package).flat_map(move |(module, file)| {
        let imports = file.imports.iter().filter(|import| !import.exported || file.words.contains(&import.name));
        imports.filter_map(move |import| Some((&module[..], file, import, resolve(package, module, &import.path, 0)?)))
    })
}

/// Returns the module of the item that `path` names within `module`; `None` for items of other
/// packages.
fn resolve(package: &Package, module: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
    let (first, mut rest) = path.split_first().filter(|_| depth < 16)?;
    let mut at = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => (module.to_vec(), rest = path).0,
    };
    while let Some((name, left)) = rest.split_first() {
        let inner = if name == "super" { at.split_last()?.1.to_vec() } else { [&at[..], &rest[..1]].concat() };
        if package.contains_key(&inner) {
            (at, rest) = (inner, left);
            continue;
        }
        let mut bound = package.get(&at)?.imports.iter().filter(|import| import.binds);
        return match bound.find(|import| import.name == *name) {
            // A macro of this file.
            Some(import) if import.path == [name.as_str()] => Some(at),
            Some(import) => resolve(package, &at, &[&import.path, left].concat(), depth + 1),
            None => (rest.len() < path.len()).then_some(at),
        };
    }
    Some(at)
}

/// Returns the shortest cycle through each import.
fn cycles(imports: &Imports) -> Vec<String> {
    let mut next = HashMap::<&str, Vec<&str>>::new();
    for (from, to) in imports.keys() {
        next.entry(from).or_default().push(to);
    }
    let mut cycles = BTreeMap::new();
    for (from, to) in imports.keys() {
        if let Some(cycle) = shortest_path(&next, to, from) {
            cycles.entry(cycle.iter().copied().collect::<BTreeSet<_>>()).or_insert(cycle);
        }
    }
    let line = |from: &str, to: &str| imports.get(&(from.to_owned(), to.to_owned()));
    let shown = |cycle: Vec<&str>| {
        let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let steps = steps.map(|(from, to)| format!("{from}:{} imports {to}", line(from, to).unwrap_or(&0)));
        format!("    {}", steps.collect::<Vec<_>>().join("\n      "))
    };
    cycles.into_values().map(shown).collect()
}

/// Returns the shortest path from one file to another, including both.
fn shortest_path<'a>(next: &HashMap<&'a str, Vec<&'a str>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut queue = VecDeque::from([vec![from]]);
    let mut seen = HashSet::from([from]);
    while let Some(way) = queue.pop_front() {
        let last = *way.last()?;
        if last == to {
            return Some(way);
        }
        let files = next.get(last).into_iter().flatten();
        queue.extend(files.filter(|file| seen.insert(file)).map(|file| [&way[..], &[file]].concat()));
    }
    None
}
