//! The committed PTX: the parameters of every kernel match the arguments of its launches, and no
//! text makes the parser panic.
#![allow(clippy::unwrap_used)]

use std::mem::{offset_of, size_of};

use bridge::vk_export::{Ptx, PtxEntry};
use proptest::prelude::*;

macro_rules! committed {
    ($($name:literal),+) => { [$(($name, include_str!(concat!("../shaders/", $name, ".ptx")))),+] };
}

/// Kernels most of which must not run in a Vulkan queue.
const REFUSED: &str = include_str!("../shaders/refused.ptx");

/// Every other module of `shaders/`.
const COMMITTED: [(&str, &str); 9] =
    committed!["bench", "engine", "first", "particles", "postprocess", "probe", "remote", "texture", "wgpu"];

/// Each kernel with the sizes of its parameters.
const KERNELS: &[(&str, &str, &[usize])] = &[
    ("bench", "touch", &[8, 4]),
    ("bench", "spin_then_tell", &[8, 4, 8]),
    ("bench", "saxpy", &[8, 8, 4, 8]),
    ("bench", "paint", &[8, 4, 4, 2]),
    ("bench", "paint_buffer", &[8, 4, 2]),
    ("engine", "drift", &[8, 8, 4, 4, 4, 4]),
    ("engine", "paint", &[8, 4, 4, 4]),
    ("engine", "glow", &[8, 8, 4, 4]),
    ("first", "fade", &[8, 8, 4, 4]),
    ("first", "parabola", &[8, 4, 4]),
    ("particles", "encounter", &[8, 8, 4, 528]),
    ("particles", "mosaic", &[8, 8, 4, 180]),
    ("postprocess", "bright", &[8, 8, 128]),
    ("postprocess", "shrink", &[8, 4, 128]),
    ("postprocess", "blur", &[8, 8, 4, 4, 4, 128]),
    ("probe", "fill_after", &[8, 4, 4, 8]),
    ("probe", "add", &[8, 8, 4]),
    ("probe", "fault", &[8]),
    ("probe", "store_16", &[8, 8, 4, 4]),
    ("probe", "sample", &[8, 8, 8, 4]),
    ("remote", "orbit", &[8, 4, 4]),
    ("texture", "grow", &[8, 8, 32]),
    ("texture", "relief", &[8, 8, 32]),
    ("wgpu", "swarm", &[8, 4, 4]),
    ("wgpu", "ink", &[8, 8, 4, 4]),
    ("wgpu", "tiles", &[8, 4, 4, 4]),
    ("wgpu", "tiles_in_rows", &[8, 4, 4, 4]),
];

fn read(module: &str) -> Ptx {
    let (_, text) = COMMITTED.iter().find(|(name, _)| *name == module).unwrap();
    Ptx::new(text).unwrap_or_else(|error| panic!("{module}: {error}"))
}

/// Compares a kernel's parameters with the fields of a struct.
macro_rules! lies_as {
    ($entry:expr, $struct:ident { $($field:ident: $type:ty),+ $(,)? }) => {{
        #[repr(C)]
        #[allow(dead_code)] // Only the layout is used.
        struct $struct { $($field: $type),+ }
        let expected = [$((offset_of!($struct, $field), size_of::<$type>(), align_of::<$type>())),+];
        let entry: &PtxEntry = $entry;
        let found: Vec<_> = entry.params().iter().map(|param| (param.offset, param.size, param.align)).collect();
        assert_eq!(found, expected, "{}", entry.name());
        assert_eq!(entry.args_size().next_multiple_of(align_of::<$struct>()), size_of::<$struct>());
    }};
}

#[test]
fn every_committed_kernel_is_read() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../shaders")).unwrap();
    let files = files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "ptx"));
    assert_eq!(files.count(), COMMITTED.len() + 1, "a module is missing in the list above");
    for (name, text) in COMMITTED {
        let ptx = read(name);
        assert_eq!((ptx.version(), ptx.target()), ("8.0", "sm_52"), "{name}");
        assert_eq!(ptx.entries().len(), text.matches(".visible .entry").count(), "{name}");
        for entry in ptx.entries() {
            assert_eq!(entry.refused(), None, "{name}: {}", entry.name());
        }
    }
    for (module, kernel, sizes) in KERNELS {
        let ptx = read(module);
        let entry = ptx.entry(kernel).unwrap_or_else(|| panic!("{module} has no {kernel}"));
        let found: Vec<_> = entry.params().iter().map(|param| param.size).collect();
        assert_eq!(&found, sizes, "{module}: {kernel}");
    }
}

#[test]
fn kernels_are_refused_for_their_instructions() {
    let ptx = Ptx::new(REFUSED).unwrap();
    let expected = [
        ("fine", ""),
        ("bounded", ""),
        ("shares", ""),
        ("shares_in_a_call", ""),
        ("constructs", ""),
        ("prints", "a call of `vprintf`"),
        ("allocates", "a call of `malloc`"),
        ("frees", "a call of `free`"),
        ("asserts", "a call of `__assertfail`"),
        ("traps", "`trap`"),
        ("breaks", "`brkpt`"),
        ("traps_in_a_call", "`trap`"),
        ("traps_in_a_virtual_call", "`trap`"),
    ];
    assert_eq!(ptx.entries().len(), expected.len());
    for (name, why) in expected {
        let refused = ptx.entry(name).unwrap().refused();
        let found = refused.map(|refused| refused.instruction.as_str()).unwrap_or_default();
        assert_eq!(found, why, "{name}");
        // The line is that of the instruction.
        let line = refused.map(|refused| REFUSED.lines().nth(refused.line as usize - 1).unwrap());
        assert!(line.is_none_or(|line| ["call", "trap;", "brkpt;"].iter().any(|part| line.contains(part))), "{line:?}");
    }
}

/// Argument and shared memory sizes match those of `ptxas -v` and of the constant bank in its
/// output.
#[test]
fn sizes_are_those_of_ptxas() {
    let ptx = Ptx::new(REFUSED).unwrap();
    for (name, args, shared) in [
        ("fine", 81, 0),
        ("bounded", 8, 0),
        ("shares", 8, 336),
        ("shares_in_a_call", 8, 144),
        ("traps_in_a_virtual_call", 16, 144),
    ] {
        let entry = ptx.entry(name).unwrap();
        assert_eq!(entry.args_size(), args, "{name}");
        // A call through a table may reach any function, with its shared memory.
        assert_eq!(entry.static_shared_bytes(), shared, "{name}");
    }
    assert_eq!(ptx.entry("bounded").unwrap().max_threads(), Some(128));
    #[repr(C)]
    struct Mixed(i8, f64, i16);
    #[repr(C, align(16))]
    struct Wide([f32; 5]);
    lies_as!(ptx.entry("fine").unwrap(), Fine { out: u64, mixed: Mixed, wide: Wide, c: i8, n: u64, b: bool });
}

#[test]
fn parameters_are_laid_out_like_rust_structs() {
    #[repr(C)]
    struct Words([u32; 45]);
    #[repr(C, align(16))]
    struct Wide([f32; 5]);
    let ptx = read("bench");
    lies_as!(ptx.entry("saxpy").unwrap(), Saxpy { y: u64, x: u64, a: f32, len: u64 });
    lies_as!(ptx.entry("paint").unwrap(), Paint { surface: u64, width: u32, height: u32, value: u16 });
    let ptx = read("particles");
    lies_as!(ptx.entry("mosaic").unwrap(), Mosaic { out: u64, tiles: u64, len: u32, all: Words });
    let ptx = Ptx::new(
        ".version 8.0 .target sm_52 .address_size 64
        .entry mixed(.param .u8 a, .param .u64 b, .param .u16 c, .param .align 16 .b8 d[32], .param .u8 e, .param .f64 f) {}",
    );
    let ptx = ptx.unwrap();
    lies_as!(ptx.entry("mixed").unwrap(), Mixed { a: u8, b: u64, c: u16, d: Wide, e: u8, f: f64 });
}

/// A modification of a text.
#[derive(Debug, Clone)]
enum Change {
    Cut(prop::sample::Index),
    Delete(prop::sample::Index, usize),
    Put(prop::sample::Index, u8),
    Insert(prop::sample::Index, &'static str),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let tokens =
        vec!["{", "}", "(", ")", ",", ";", "[", "\"", "/*", "*/", "//", ".align", ".param", ".shared", "trap;", "\0"];
    prop_oneof![
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        3 => (any::<prop::sample::Index>(), 0usize..40).prop_map(|(at, len)| Change::Delete(at, len)),
        3 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        3 => (any::<prop::sample::Index>(), prop::sample::select(tokens)).prop_map(|(at, text)| Change::Insert(at, text)),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..200)
            .prop_map(|(from, to, len)| Change::Copy(from, to, len)),
    ]
}

fn apply(text: &mut Vec<u8>, change: &Change) {
    if text.is_empty() {
        return;
    }
    let size = text.len();
    match change {
        Change::Cut(at) => text.truncate(at.index(size)),
        Change::Delete(at, len) => drop(text.drain(at.index(size)..(at.index(size) + len).min(size))),
        Change::Put(at, byte) => text[at.index(size)] = *byte,
        Change::Insert(at, what) => drop(text.splice(at.index(size)..at.index(size), what.bytes())),
        Change::Copy(from, to, len) => {
            let copied = text[from.index(size)..(from.index(size) + len).min(size)].to_vec();
            text.splice(to.index(size)..to.index(size), copied);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_committed_module_panics(
        module in prop::sample::select(COMMITTED.to_vec()), changes in prop::collection::vec(change(), 1..6),
    ) {
        let mut text = module.1.as_bytes().to_vec();
        changes.iter().for_each(|change| apply(&mut text, change));
        if let Ok(ptx) = Ptx::new(&text) {
            for entry in ptx.entries() {
                let end = entry.params().iter().map(|param| param.offset + param.size).max().unwrap_or(0);
                prop_assert_eq!(entry.args_size(), end);
                prop_assert!(entry.params().iter().all(|param| param.offset % param.align == 0));
            }
        }
    }

    /// A `trap` at the start of any statement of any kernel is found.
    #[test]
    fn a_trap_is_found_at_every_statement(
        module in prop::sample::select(COMMITTED.to_vec()), at in any::<prop::sample::Index>(),
    ) {
        let body = module.1.find("\n{").unwrap();
        let ends: Vec<_> = module.1.match_indices(";\n").map(|(at, _)| at).filter(|at| *at > body).collect();
        let at = ends[at.index(ends.len())] + 1;
        let text = format!("{}\n@%p1 trap;{}", &module.1[..at], &module.1[at..]);
        let ptx = Ptx::new(&text).unwrap();
        let line = u32::try_from(text[..at + 1].lines().count() + 1).unwrap();
        let found: Vec<_> = ptx.entries().iter().filter_map(PtxEntry::refused).collect();
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!((found[0].instruction.as_str(), found[0].line), ("`trap`", line));
    }
}
