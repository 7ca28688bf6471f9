use proptest::prelude::*;

use super::*;

const HEAD: &str = ".version 8.0\n.target sm_52\n.address_size 64\n";

fn read(text: &str) -> Ptx {
    Ptx::new(format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[track_caller]
fn syntax_error(text: &str, because: &str) {
    let error = Ptx::new(text).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains(because), "{error:?} of {text:?}");
}

/// Returns the offset, size and alignment of each parameter.
fn params(ptx: &Ptx, name: &str) -> Vec<(usize, usize, usize)> {
    let entry = ptx.entry(name).unwrap_or_else(|| panic!("no {name}"));
    entry.params().iter().map(|param| (param.offset, param.size, param.align)).collect()
}

fn refused(text: &str, name: &str) -> String {
    read(text).entry(name).and_then(PtxEntry::refused).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn parameters_are_parsed_in_every_syntax() {
    let ptx = read(
        ".visible .entry _Z1f$x%y(\n\t.param .u8 a, // one\n .param /* two */ .u64 .ptr .global .align 16 b,\n
           .param .align 8 .b8 c[24], .param .b16 d, .param .align 16 .b8 e[2][3], .param .v4 .f32 f, .param .b8 .align 4 g[0x10])
         .maxntid 32, 4\n.minnctapersm 2 .pragma \"nounroll\"; { ret; }
         .entry none { ret; }
         .weak .entry empty() .reqntid 8,8,2 { ret; }",
    );
    let expected = vec![(0, 1, 1), (8, 8, 8), (16, 24, 8), (40, 2, 2), (48, 6, 16), (64, 16, 16), (80, 16, 4)];
    assert_eq!(params(&ptx, "_Z1f$x%y"), expected);
    let names: Vec<_> = ptx.entries().iter().map(PtxEntry::name).collect();
    assert_eq!(names, ["_Z1f$x%y", "none", "empty"]);
    let [first, none, empty] = ptx.entries() else { panic!("{ptx:?}") };
    assert_eq!((first.args_size(), first.max_threads(), first.required_block()), (96, Some(128), None));
    assert_eq!((none.args_size(), none.max_threads()), (0, None));
    assert_eq!((empty.max_threads(), empty.required_block()), (Some(128), Some([8, 8, 2])));
    assert_eq!((ptx.version(), ptx.target()), ("8.0", "sm_52"));
    assert!(ptx.entries().iter().all(|entry| entry.refused().is_none()));
}

#[test]
fn invalid_ptx_is_refused_with_advice() {
    for (text, because) in [
        (&b"\x7fELF\x02\x01\x01"[..], "cubin"),
        (&[0x50, 0xed, 0x55, 0xba, 1, 0], "fatbin"),
        (b"", "`.version` is missing"),
        (b".version 8.0\0.target", "not text"),
        (b"\xff\xfe", "not text"),
        (b"MZ\x90", "not text"),
    ] {
        let error = Ptx::new(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(because), "{error:?} of {text:?}");
    }
    syntax_error("int main() {}", "`.version` is missing");
    syntax_error(".version 8.0 .target sm_52 .entry f() {}", "`.address_size` is missing");
    syntax_error(".version 8.0 .target sm_52 .address_size 32", "compile for 64");
    for (text, because) in [
        (".visible .entry f(.param .u64 a) {", "\"f\" has no end"),
        (".visible .entry f(.param .u64 a", "a parenthesis without an end"),
        (".visible .entry f(.param .quad a) { ret; }", "unknown type .quad"),
        (".visible .entry f(.param .u64 a[]) { ret; }", "has no size"),
        (".visible .entry f(.param .align 3 .b8 a[3]) { ret; }", "alignment of 3"),
        (".visible .entry f(.param .b8 a[99999999999999999999]) { ret; }", "a number"),
        (".visible .entry f(.param .b64 a[999999999]) { ret; }", "too large"),
        (".visible .entry f() { ret; }\n.entry f() { ret; }", "line 5: \"f\" is defined twice"),
        (".visible .entry f()", "without a body"),
        ("/* .visible", "a comment"),
    ] {
        syntax_error(&format!("{HEAD}{text}"), because);
    }
    assert!(Ptx::new(format!("{HEAD}\0")).is_ok(), "a final NUL may be there");
    assert_eq!(read("").as_c_str().to_bytes(), HEAD.as_bytes());
}

#[test]
fn hanging_instructions_are_refused_in_kernels_that_reach_them() {
    for (body, instruction) in [
        ("trap;", "`trap`"),
        ("@%p1 trap;", "`trap`"),
        ("@!%p1 trap;", "`trap`"),
        ("bra L; L: trap;", "`trap`"),
        (".loc 1 2 3 trap;", "`trap`"),
        (".loc 1 2 3, function_name $L, inlined_at 1 2 3\ntrap;", "`trap`"),
        ("{ .reg .b32 a; { trap; } }", "`trap`"),
        ("st.v2.f32 [%rd1], {%f1, %f2}; trap;", "`trap`"),
        ("brkpt;", "`brkpt`"),
        ("barrier.cluster.arrive;", "`barrier.cluster`"),
        ("barrier .cluster /**/ .wait.aligned;", "`barrier.cluster`"),
        ("mapa.u64 a, b, c;", "`mapa`"),
        ("getctarank.u32 a, b;", "`getctarank`"),
        (
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [a], [b], c, [d], e;",
            "multicast",
        ),
        ("tcgen05.alloc.cta_group::2.sync.aligned.shared::cta.b32 [a], 32;", "`.cta_group::2`"),
        ("a: b: trap;", "`trap`"),
        ("call.uni (r), malloc, (a);", "a call of `malloc`"),
        ("call.uni free, (a);", "a call of `free`"),
    ] {
        let text = format!(".visible .entry f() {{\n{body}\n}}\n.visible .entry g() {{ ret; }}");
        let why = refused(&text, "f");
        assert!(why.contains(instruction) && why.contains("in line ") && why.contains("in \"f\""), "{why:?} of {body}");
        assert_eq!(refused(&text, "g"), "", "{body}");
    }
    let directive = ".visible .entry f() .explicitcluster .reqnctapercluster 2, 1, 1 { ret; }";
    assert!(refused(directive, "f").contains("cluster"), "{}", refused(directive, "f"));
    // Instructions that work in a queue.
    let bulk = ".visible .entry f() { cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [a], [b], c, [d]; \
                sust.b.2d.b32.trap [s, {a, b}], {c}; nanosleep.u32 5; bar.sync 0; fence.acq_rel.cluster; exit; }";
    assert_eq!(refused(bulk, "f"), "");
    // Names that are spelled like instructions are not rejected.
    let names =
        ".global .u32 trap; .visible .entry f(.param .u64 trap) { ld.param.u64 a, [trap]; bra mapa; mapa: ret; }";
    assert_eq!(refused(names, "f"), "");
}

#[test]
fn properties_of_functions_apply_to_calling_kernels() {
    let text = "
        .extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
        .extern .func (.param .b32 r) cudaLaunchDeviceV2(.param .b64 a);
        .func deep(.param .b32 x) ;
        .func says() { call.uni (r), vprintf, (a, b); ret; }
        .func outer() { call.uni deep, (x); ret; }
        .func deep(.param .b32 x) { @%p trap; ret; }
        .visible .entry one() { call.uni outer, (); ret; }
        .visible .entry two() { mov.u64 %rd1, says; call %rd1, (), proto; ret; }
        .visible .entry three() { call (r), cudaLaunchDeviceV2, (a); ret; }
        .visible .entry four() { ret; }";
    assert!(refused(text, "one").contains("`trap` in line 10, in \"deep\""), "{}", refused(text, "one"));
    assert!(refused(text, "two").contains("in \"says\""), "{}", refused(text, "two"));
    assert!(refused(text, "three").contains("cudaLaunchDeviceV2"), "{}", refused(text, "three"));
    assert_eq!(refused(text, "four"), "");
    let table = "
        .func bad() { trap; }
        .global .align 8 .u64 table[2] = {bad, 0};
        .visible .entry f() { ld.global.u64 %rd1, [table]; call (r), %rd1, (x), proto; ret; }
        .visible .entry g() { ret; }";
    assert!(refused(table, "f").contains("`trap`"), "a function that a table names may be called through it");
    assert_eq!(refused(table, "g"), "", "where nothing is called, none is");
    let tables =
        ".extern .func malloc(); .global .u64 table[1] = {malloc}; .visible .entry f() { call (r), %rd1, (); ret; }";
    assert!(refused(tables, "f").contains("`malloc`"));
    let stored = ".func bad() { trap; }
        .visible .entry f() { call fp, (x), proto; ret; }
        .visible .entry g() { mov.u64 %rd1, bad; st.global.u64 [a], %rd1; ret; }";
    assert!(refused(stored, "f").contains("`trap`"), "another kernel may have stored it");
    let alias = ".func bad() { trap; }\n.alias good, bad;\n.visible .entry f() { call good, (); ret; }";
    assert!(refused(alias, "f").contains("`trap`"));
}

#[test]
fn shared_memory_is_attributed_to_its_users() {
    let text = "
        .shared .align 4 .b8 used[100];
        .shared .align 16 .b8 unused[4096];
        .extern .shared .align 16 .b8 dynamic[];
        .func helper() { .shared .u32 flag; mov.u64 a, used; ret; }
        .visible .entry f() { .shared .align 8 .b8 tile[16][4]; .shared .f32 a, b[2]; mov.u32 r, dynamic; ret; }
        .visible .entry g() { call helper, (); ret; }
        .visible .entry h() { mov.u32 r, dynamic; ld.shared.u32 r, [x]; ret; }";
    let ptx = read(text);
    let bytes: Vec<_> = ptx.entries().iter().map(PtxEntry::static_shared_bytes).collect();
    assert_eq!(bytes, [80, 112, 0], "76 and 104 bytes, with the dynamic part behind them at a multiple of 16");
    let alone = read(".visible .entry f() { .shared .align 8 .b8 tile[16][4]; .shared .f32 a, b[2]; ret; }");
    assert_eq!(alone.entries()[0].static_shared_bytes(), 76);
}

/// Generates a parameter as text, with its size and alignment.
fn param() -> impl Strategy<Value = (String, usize, usize)> {
    let scalar = prop::sample::select(vec![("u8", 1), ("b16", 2), ("s32", 4), ("f32", 4), ("u64", 8), ("f64", 8)])
        .prop_map(|(name, size)| (format!(".param .{name} NAME"), size, size));
    let array = (0u32..5, 1usize..200)
        .prop_map(|(log2, size)| (format!(".param .align {} .b8 NAME[{size}]", 1 << log2), size, 1usize << log2));
    prop_oneof![scalar, array]
}

proptest! {
    /// Parameters are laid out as by `repr(C)`, which `Layout::extend` computes.
    #[test]
    fn parameters_are_laid_out_as_in_a_c_struct(list in prop::collection::vec(param(), 0..12)) {
        let text: Vec<_> =
            list.iter().enumerate().map(|(i, (text, ..))| text.replace("NAME", &format!("p{i}"))).collect();
        let ptx = read(&format!(".visible .entry f({}) {{ ret; }}", text.join(", ")));
        let mut layout = std::alloc::Layout::new::<()>();
        for (found, (_, size, align)) in params(&ptx, "f").into_iter().zip(&list) {
            // The size of a byte array need not be a multiple of its alignment, so build the
            // `Layout` from size and alignment.
            let one = std::alloc::Layout::from_size_align(*size, *align).unwrap();
            let (next, offset) = layout.extend(one).unwrap();
            layout = next;
            prop_assert_eq!(found, (offset, *size, *align));
        }
        prop_assert_eq!(ptx.entries()[0].args_size(), layout.size());
        prop_assert_eq!(ptx.entries()[0].params().len(), list.len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Ptx::new(&bytes);
    }

    #[test]
    fn arbitrary_tokens_never_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            ".visible", ".extern", ".entry", ".func", "f", "g", "(", ")", "{", "}", "[", "]", ",", ";", ":", "@", "!",
            ".param", ".u64", ".b8", ".align", "8", "99999999999999999999", ".shared", ".maxntid", ".reqntid", "call",
            "trap", "=", ".pragma", "\"x\"", ".loc", ".attribute", ".ptr", ".v4", ".alias", "inlined_at", "function_name",
        ]), 0..60),
    ) {
        let _ = Ptx::new(format!("{HEAD}{}", words.join(" ")));
    }
}
