//! SHA-256 digests of downloaded files, to verify that loaded files are the downloaded ones.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Returns the file's digest in lowercase hexadecimal.
pub(crate) fn of(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let read = file.read(&mut buffer).with_context(cannot)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns `true` if the file exists and has this digest.
pub(crate) fn matches(path: &Path, sha256: &str) -> bool {
    of(path).is_ok_and(|found| found == sha256)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The example in FIPS 180-4, and the empty file.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_those_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "abc").unwrap();
        assert_eq!(of(&file).unwrap(), ABC);
        fs::write(&file, "").unwrap();
        assert_eq!(of(&file).unwrap(), EMPTY);
    }

    #[test]
    fn another_text_and_a_missing_file_do_not_match() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        assert!(!matches(&file, EMPTY));
        fs::write(&file, "abd").unwrap();
        assert!(!matches(&file, ABC));
        assert!(of(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
