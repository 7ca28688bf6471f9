//! Standard output and the error stream, without the panics of `println!`.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Prints `text` on standard output and flushes it. If the reader has closed the pipe, the text is
/// discarded without an error.
///
/// # Errors
/// Standard output cannot be written to: a full disk, for example.
pub fn print(text: &str) -> Result<()> {
    write(&mut io::stdout().lock(), text)
}

/// Like [`print()`], with a line end.
///
/// # Errors
/// Like [`print()`].
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    print(&format!("{text}\n"))
}

fn write(output: &mut impl Write, text: &str) -> Result<()> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints `text` and a line end on the error stream. Ignores errors, because there is no other
/// place to report them.
pub fn print_error(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Returns `count` and `noun`, in the plural if the count is not 1.
pub fn count(count: impl Into<u64>, noun: &str) -> String {
    let count = count.into();
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
        assert!(write(&mut Fails(ErrorKind::BrokenPipe), "x").is_ok());
        let error = format!("{:#}", write(&mut Fails(ErrorKind::StorageFull), "x").unwrap_err());
        assert!(error.contains("standard output"), "{error}");
    }

    #[test]
    fn one_is_not_plural() {
        assert_eq!([0_u32, 1, 2].map(|n| count(n, "particle")), ["0 particles", "1 particle", "2 particles"]);
    }
}
