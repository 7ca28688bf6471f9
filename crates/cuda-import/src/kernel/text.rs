//! Distinguishes PTX text from the binary modules that the driver loads with the same call.

use std::ffi::CStr;

/// The directive that every PTX module begins with, after comments (PTX ISA, "PTX Module
/// Directives").
const VERSION: &[u8] = b".version";

/// Returns the reason why this is not PTX text, or `None` if it can be passed to the driver.
///
/// `cuModuleLoadDataEx` has no length: it reads text up to its NUL, but it recognizes a cubin or a
/// fatbin by its first bytes and takes the size from its header, so that it would read beyond the
/// bytes here. PTX text begins with white space, a comment, a directive or a preprocessor line
/// (`#`), as no binary module does. Text that contains the version directive is longer than the
/// first bytes of a binary module that the driver compares.
pub(super) fn problem(bytes: &CStr) -> Option<&'static str> {
    let bytes = bytes.to_bytes();
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Some("it is an ELF file, a cubin"),
        [0x50, 0xed, 0x55, 0xba, ..] | [0xb1, 0x43, 0x62, 0x46, ..] => Some("it is a fatbin"),
        [first, ..] if !first.is_ascii_whitespace() && !b"./#\x0b".contains(first) => {
            Some("its first byte begins neither white space, a comment, a directive nor a preprocessor line")
        }
        _ if !bytes.windows(VERSION.len()).any(|part| part == VERSION) => Some("it contains no `.version` directive"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn binary_modules_are_recognized_by_their_first_bytes() {
        let refused = |bytes, why: &str| assert!(problem(bytes).is_some_and(|found| found.contains(why)), "{bytes:?}");
        refused(c"\x7fELF\x02\x01\x01 .version", "ELF");
        refused(c"\x50\xed\x55\xba\x01 .version", "fatbin");
        refused(c"\xb1\x43\x62\x46\x01 .version", "fatbin");
        refused(c"\xef\xbb\xbf.version 8.0", "first byte");
        for text in [c"", c".", c"//", c" \n", c".versio"] {
            refused(text, ".version");
        }
        for text in [
            c".version 8.0",
            c"\n\t .version 8.0",
            c"// a\n.version 8.0",
            c"/* a */.version 8.0",
            c"# 1 \"a\"\n.version 8.0",
        ] {
            assert_eq!(problem(text), None, "{text:?}");
        }
    }
}
