use super::folders::{folder_imports, layers, problems};
use super::source::Source;
use super::{FOLDERS, Package, cycles, imports_of, through_root, upward, visit};

/// Returns the cycles in a package of the given files, each a name and a text.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    cycles(&imports_of(&package(files)))
}

fn package(files: &[(&str, &str)]) -> Package {
    let module = |name: &str| {
        let parts = name.trim_end_matches(".rs").split('/').filter(|part| !["lib", "mod"].contains(part));
        parts.map(str::to_owned).collect()
    };
    files.iter().map(|(name, text)| (module(name), Source::parse(name, text))).collect()
}

#[test]
fn a_planted_cycle_is_reported_with_its_files_and_lines() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use b::B;\n"),
        ("a.rs", "use std::fmt;\n\nuse crate::b::{\n    B, self as other,\n};\n"),
        ("b.rs", "fn b() {\n    super::c::make(1);\n}\n"),
        ("c.rs", "use crate::A;\n"),
    ];
    let expected = "    a.rs:3 imports b.rs\n      b.rs:2 imports c.rs\n      c.rs:1 imports a.rs";
    let mut cycle = found(&files);
    assert_eq!(cycle.len(), 1, "{cycle:?}");
    let mut lines: Vec<_> = cycle.remove(0).lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    assert_eq!(lines, expected.lines().map(str::trim).collect::<Vec<_>>());
    assert!(found(&files[..3]).is_empty(), "without the file that closes it there is none");
}

#[test]
fn a_module_file_is_in_no_cycle_unless_it_uses_its_exports() {
    let a = ("a.rs", "use crate::map::One;\n");
    let one = ("map/one.rs", "use crate::a::A;\npub struct One;\n");
    let two = ("map/two.rs", "pub struct Two;\n");
    let b = ("b.rs", "use crate::map::Two;\n");
    let two_of_a = ("map/two.rs", "use crate::b::B;\npub struct Two;\n");
    let map = ("map/mod.rs", "mod one;\nmod two;\npub use one::One;\npub(crate) use two::Two;\n");
    assert!(found(&[("lib.rs", "mod a;"), map, ("a.rs", "use crate::map::Two;\n"), one, two]).is_empty());
    assert_eq!(found(&[map, a, one]).len(), 1, "by way of the re-export");
    let uses = ("map/mod.rs", "mod two;\npub(crate) use two::Two;\npub fn of(two: Two) {}\n");
    let of_map = ("b.rs", "use crate::map::of;\n");
    assert!(found(&[("map/mod.rs", "pub(crate) use two::Two;\npub fn of() {}\n"), of_map, two_of_a]).is_empty());
    assert_eq!(found(&[uses, of_map, two_of_a]).len(), 1);
    assert_eq!(found(&[map, b, two_of_a]).len(), 1);
}

#[test]
fn parts_of_a_file_and_tests_do_not_count() {
    let parent = ("a.rs", "mod part;\nuse part::Part;\npub struct A;\n");
    assert!(found(&[parent, ("a/part.rs", "use super::A;\npub struct Part;\n")]).is_empty());
    let tested = "pub struct C;\n\n#[cfg(test)]\nmod tests {\n    use crate::d::D;\n}\n";
    let d = ("d.rs", "use crate::c::C; // as crate::e\n");
    assert!(found(&[("c.rs", tested), d]).is_empty());
    let of_tests = ("c.rs", "#[cfg(all(test, unix))]\nmod c_tests;\n");
    assert!(
        found(&[of_tests, ("c/c_tests.rs", "use crate::d::D;\n"), ("d.rs", "use crate::c::c_tests::T;\n")]).is_empty()
    );
    let inline = ("c.rs", "mod inner {\n    use super::C;\n    use crate::d::D;\n}\npub struct C;\n");
    assert_eq!(found(&[inline, d]).len(), 1, "modules in a file are the file's");
}

#[test]
fn a_macro_belongs_to_the_file_that_exports_it() {
    let log = ("log.rs", "use crate::a::A;\nmacro_rules! log_a {\n    () => {};\n}\npub(crate) use log_a;\n");
    assert_eq!(found(&[log, ("a.rs", "use crate::log::log_a;\n")]).len(), 1);
}

#[test]
fn an_import_through_the_root_is_reported() {
    let root = ("lib.rs", "mod a;\nmod error;\npub const LIMIT: u32 = 1;\npub use error::Error;\npub use std::fmt;\n");
    let error = ("error.rs", "pub enum Error {}\n");
    let rooted = |name, text| through_root(&package(&[root, error, (name, text)]));
    assert_eq!(rooted("a.rs", "use crate::Error;\n"), ["    a.rs:1 imports Error"]);
    assert_eq!(rooted("a.rs", "fn a() -> crate::Error {\n    super::fmt::a()\n}\n").len(), 2);
    assert_eq!(rooted("a/b.rs", "use super::super::Error;\n").len(), 1);
    assert_eq!(rooted("a.rs", "mod inner {\n    use super::{Error, fmt};\n}\n    $crate::Error\n"), [""; 0]);
    assert_eq!(rooted("a.rs", "use crate::{LIMIT, error::{self, Error}};\n"), [""; 0], "defined in the file named");
    assert_eq!(rooted("a/b.rs", "use super::Error;\n#[cfg(test)]\nmod tests {\n    use crate::Error;\n}\n"), [""; 0]);
}

#[test]
fn the_lowest_folder_imports_nothing_above_it() {
    let sys = |name: &str| format!("crates/cuda-import/src/sys/{name}");
    let above = |name: &str| format!("crates/cuda-import/src/{name}");
    let import = |to: String| upward(&[((sys("array.rs"), to), 7)].into());
    assert_eq!(import(above("image/info.rs")).len(), 1);
    assert!(import(sys("mod.rs")).is_empty() && import(above("logging.rs")).is_empty());
    assert!(upward(&[((above("image/info.rs"), sys("mod.rs")), 1)].into()).is_empty());
}

/// Two folders that import each other without a cycle between files, and a file below them.
const FOLDER_CYCLE: [(&str, &str); 7] = [
    ("lib.rs", "mod a;\nmod b;\nmod error;\npub use a::one::One;\npub use b::Two;\n"),
    ("a/mod.rs", "mod one;\nmod two;\n"),
    ("a/one.rs", "use crate::b::Two;\nuse crate::error::Error;\n"),
    ("a/two.rs", "use crate::error::Error;\npub struct Three;\n"),
    ("b/mod.rs", "mod user;\npub struct Two;\n"),
    ("b/user.rs", "use crate::a::two::Three;\n\nfn three() -> Three {\n    Three\n}\n"),
    ("error.rs", "pub enum Error {}\n"),
];

#[test]
fn a_cycle_between_folders_is_reported_with_its_imports() {
    assert!(found(&FOLDER_CYCLE).is_empty(), "no file is in a cycle");
    let imports = folder_imports(&package(&FOLDER_CYCLE), "");
    let expected = "    a, b:\n      a imports b:\n        a/one.rs:1 imports crate::b::Two\n      b imports a:\n        \
                    b/user.rs:1 imports crate::a::two::Three";
    assert_eq!(problems(&imports), [expected]);

    let tested = ("b/user.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::two::Three;\n}\n");
    let files: Vec<_> = FOLDER_CYCLE.into_iter().filter(|(name, _)| *name != tested.0).chain([tested]).collect();
    assert_eq!(problems(&folder_imports(&package(&files), "")), [""; 0], "of a test");
    let named = FOLDER_CYCLE.map(|(name, text)| (if name == tested.0 { "b/user_tests.rs" } else { name }, text));
    assert_eq!(problems(&folder_imports(&package(&named), "")), [""; 0], "a file of tests");
}

#[test]
fn layers_are_shown_from_top_to_bottom() {
    let files = FOLDER_CYCLE.into_iter().filter(|(name, _)| *name != "b/user.rs");
    let imports = folder_imports(&package(&Vec::from_iter(files)), "");
    let shown = layers(&imports);
    assert!(shown.starts_with(", top to bottom:\n    a\n    b"), "{shown}");
}

#[test]
fn a_cycle_within_a_folder_is_reported() {
    let inner = |name: &str| format!("outer/{}", name.replace("lib.rs", "mod.rs"));
    let inner = FOLDER_CYCLE.map(|(name, text)| (inner(name), text.replace("crate::", "crate::outer::")));
    let outer = [("lib.rs", "mod higher;\nmod outer;\n"), ("higher.rs", "use crate::outer::b::Two;\n")];
    let files: Vec<_> = inner.iter().map(|(name, text)| (&**name, &**text)).chain(outer).collect();
    let imports = folder_imports(&package(&files), "");
    let cycle = problems(&imports).pop().unwrap();
    assert!(
        cycle.starts_with("    outer/a, outer/b:\n      outer/a imports outer/b:\n        outer/a/one.rs:1"),
        "{cycle}"
    );
}

#[test]
fn packages_of_python_and_of_the_tests_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("double").join(name);
    std::fs::create_dir_all(at("src")).unwrap();
    let files = [("Cargo.toml", ""), ("src/a.rs", "use crate::b::B;\n"), ("src/b.rs", "use crate::a::A;\n")];
    files.iter().for_each(|(name, text)| std::fs::write(at(name), text).unwrap());
    let mut cyclic = Vec::new();
    visit(folder.path(), &mut |_, package| cyclic.push(cycles(&imports_of(package)).len())).unwrap();
    assert_eq!(cyclic, [1]);
    assert!(["crates", "python", "tests"].iter().all(|name| FOLDERS.contains(name)));
}
