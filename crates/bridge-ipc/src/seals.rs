//! Memory file flags and seals that older kernels do not support.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// Creates a memory file that cannot be executed, if the kernel supports that flag (Linux 6.3 or
/// later). With `vm.memfd_noexec=2`, the kernel refuses all other memory files.
pub(crate) fn with_noexec<T>(make: impl Fn(MemfdFlags) -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    match make(MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => make(MemfdFlags::empty()),
        made => made,
    }
}

/// Returns the error of a failed call to add `seals`. For a seal that it does not support, the
/// kernel reports only an invalid argument.
pub(crate) fn seal_error(seals: SealFlags, error: Errno) -> std::io::Error {
    let system = std::io::Error::from(error);
    if error != Errno::INVAL || !seals.contains(SealFlags::FUTURE_WRITE) {
        return system;
    }
    let reason = "the system has no F_SEAL_FUTURE_WRITE, which memory that a worker reads requires (Linux 5.1 or \
        later; sandboxes with a kernel of their own may lack it); a worker that writes its frames does not need it";
    std::io::Error::new(system.kind(), format!("{system}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_file_is_created_with_or_without_noexec_support() {
        let strict = |flags: MemfdFlags| if flags.is_empty() { Err(Errno::ACCESS) } else { Ok(flags) };
        assert_eq!(with_noexec(strict), Ok(MemfdFlags::NOEXEC_SEAL));
        let old = |flags: MemfdFlags| if flags.is_empty() { Ok(flags) } else { Err(Errno::INVAL) };
        assert_eq!(with_noexec(old), Ok(MemfdFlags::empty()));
        assert_eq!(with_noexec::<()>(|_| Err(Errno::MFILE)), Err(Errno::MFILE));
    }

    #[test]
    fn unsupported_seal_is_distinguished_from_other_errors() {
        let future = SealFlags::FUTURE_WRITE | SealFlags::SHRINK;
        let told = seal_error(future, Errno::INVAL).to_string();
        assert!(told.contains("Invalid argument") && told.contains("Linux 5.1"), "{told}");
        for (seals, error) in [(future, Errno::PERM), (SealFlags::SHRINK, Errno::INVAL)] {
            assert_eq!(seal_error(seals, error).raw_os_error(), Some(error.raw_os_error()));
        }
    }
}
