//! Tests of the attributes on Windows: an event is created with them, and its security is read
//! back.

use windows_sys::Win32::Foundation::ERROR_SUCCESS;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;
use windows_sys::Win32::System::Threading::CreateEventW;

use super::*;

/// Creates an event with these attributes, as a driver creates its objects.
fn event(attributes: &SecurityAttributes) -> OwnedHandle {
    // SAFETY: complete attributes, and no name.
    let raw = unsafe { CreateEventW(&attributes.raw, 1, 0, std::ptr::null()) };
    assert!(!raw.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: the event was just created and is not used elsewhere.
    unsafe { OwnedHandle::from_raw_handle(raw) }
}

/// Returns the DACL of a kernel object, in SDDL.
fn dacl(handle: &OwnedHandle) -> String {
    let (mut dacl, mut descriptor) = (null_mut(), null_mut());
    // SAFETY: an open handle, and variables for the requested results.
    let code = unsafe {
        GetSecurityInfo(
            handle.as_raw_handle(),
            SE_KERNEL_OBJECT,
            DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            &mut dacl,
            null_mut(),
            &mut descriptor,
        )
    };
    assert_eq!(code, ERROR_SUCCESS);
    to_sddl(&Local(NonNull::new(descriptor).unwrap()))
}

fn to_sddl(descriptor: &Local) -> String {
    let mut text = null_mut();
    // SAFETY: a complete descriptor, and a variable for the result.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0.as_ptr(),
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &mut text,
            null_mut(),
        )
    };
    assert_ne!(done, 0, "{}", io::Error::last_os_error());
    let _local = Local(NonNull::new(text.cast()).unwrap());
    // SAFETY: the text ends with a NUL.
    unsafe { text_at(text) }
}

#[test]
fn default_allows_only_the_current_user() {
    let sid = current_user_sid().unwrap();
    assert!(sid.starts_with("S-1-"), "{sid}");
    let attributes = SecurityAttributes::current_user("buffer \"b\"").unwrap();
    assert_eq!(attributes.raw.nLength as usize, size_of::<SECURITY_ATTRIBUTES>());
    assert_eq!(attributes.raw.bInheritHandle, 0);
    let given = to_sddl(&attributes._descriptor);
    assert!(given.starts_with("D:P(A;;GA;;;") && given.matches('(').count() == 1, "{given}");

    let handle = event(&attributes);
    let read = dacl(&handle);
    // Windows maps GENERIC_ALL to the rights of an event, EVENT_ALL_ACCESS; Wine does not.
    let everything = ["(A;;0x1f0003;;;", "(A;;GA;;;"].iter().any(|entry| read.contains(entry));
    assert!(everything && read.matches('(').count() == 1, "{read}");
    assert_eq!(full_sid(&sid_in(&read)), sid, "{read}");
}

/// Returns the trustee of the only entry.
fn sid_in(sddl: &str) -> String {
    sddl.rsplit(';').next().unwrap().trim_end_matches(')').to_owned()
}

/// Returns the full form of a SID: SDDL abbreviates some SIDs to two letters.
fn full_sid(trustee: &str) -> String {
    use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;

    let wide: Vec<_> = trustee.encode_utf16().chain([0]).collect();
    let (mut sid, mut text) = (null_mut(), null_mut());
    // SAFETY: the text ends with a NUL, and `sid` receives the result.
    assert_ne!(unsafe { ConvertStringSidToSidW(wide.as_ptr(), &mut sid) }, 0, "{trustee}");
    let sid = Local(NonNull::new(sid).unwrap());
    // SAFETY: a complete SID, and a variable for the result.
    assert_ne!(unsafe { ConvertSidToStringSidW(sid.0.as_ptr(), &mut text) }, 0, "{trustee}");
    let _local = Local(NonNull::new(text.cast()).unwrap());
    // SAFETY: the text ends with a NUL.
    unsafe { text_at(text) }
}

#[test]
fn custom_security_descriptor_is_applied() {
    let attributes = SecurityAttributes::from_sddl("D:(A;;GA;;;BA)(A;;GR;;;WD)", "timeline \"t\"").unwrap();
    let read = dacl(&event(&attributes));
    assert!(read.contains(";;;BA)") && read.contains(";;;WD)") && read.matches('(').count() == 2, "{read}");
}

#[test]
fn invalid_security_descriptor_is_refused() {
    for (sddl, reason) in [
        ("", "no DACL"),
        ("D", "refused by Windows"),
        ("D:(A;;GA;;", "refused by Windows"),
        ("D:(A;;GA;;;NOBODY)", "refused by Windows"),
        ("let everybody in", "refused by Windows"),
        ("O:BA", "no DACL"),
    ] {
        let error = SecurityAttributes::from_sddl(sddl, "timeline \"t\"").err().map(|error| error.to_string());
        let error = error.unwrap_or_else(|| panic!("{sddl:?} is taken"));
        assert!(error.contains("timeline \"t\"") && error.contains(reason), "{sddl:?}: {error}");
    }
}
