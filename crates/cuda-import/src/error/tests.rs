use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use super::*;
use crate::sys::{CallError, LoadError};

#[test]
fn a_driver_error_says_call_code_object_device_and_advice() {
    let error = CallError { call: "cuImportExternalMemory", code: 1 }.at(Object("memory", "particles"), "NVIDIA H200");
    let text = error.to_string();
    assert!(
        text.starts_with(
            "cuImportExternalMemory failed: CUDA_ERROR_INVALID_VALUE (1) [memory \"particles\", NVIDIA H200]: "
        ),
        "{text}"
    );
    assert!(text.contains("newly exported"), "{text}");
    assert!(!error.is_context_lost());
    assert_eq!(error.driver_code(), Some(DriverCode(1)));
}

#[test]
fn an_error_without_place_or_advice_ends_after_the_code() {
    let error = CallError { call: "cuStreamQuery", code: 1 }.at("", "");
    assert_eq!(error.to_string(), "cuStreamQuery failed: CUDA_ERROR_INVALID_VALUE (1)");
    let unnamed = CallError { call: "cuMemFree", code: 1 }.at(Object("buffer", ""), "");
    assert_eq!(unnamed.to_string(), "cuMemFree failed: CUDA_ERROR_INVALID_VALUE (1) [buffer]");
}

#[test]
fn lost_context_is_recognized() {
    assert!(CallError { call: "cuStreamQuery", code: 700 }.at("", "").is_context_lost());
    assert!(!Error::NoDriver { detail: String::new() }.is_context_lost());
}

#[test]
fn question_mark_converts_errors_of_cudarc_and_keeps_the_code() {
    fn copy() -> Result<()> {
        Err(DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS))?;
        Ok(())
    }
    let error = copy().unwrap_err();
    assert_eq!(error.driver_code(), Some(DriverCode(700)));
    assert!(error.to_string().starts_with("a cudarc call failed: CUDA_ERROR_ILLEGAL_ADDRESS (700): "), "{error}");
    assert!(!error.is_context_lost(), "cudarc may have recorded the error earlier");
}

#[test]
fn unknown_uuid_error_lists_the_devices() {
    let uuid = Uuid::from_u128(7);
    let none = Error::NoSuchDevice { uuid, present: Vec::new() }.to_string();
    assert!(none.contains("present: none"), "{none}");
    let present = vec![
        PresentDevice { name: "A".to_owned(), uuid: Uuid::from_u128(1) },
        PresentDevice { name: "B".to_owned(), uuid: Uuid::from_u128(2) },
    ];
    let two = Error::NoSuchDevice { uuid, present }.to_string();
    assert!(
        two.contains("A (00000000-0000-0000-0000-000000000001), B (00000000-0000-0000-0000-000000000002)"),
        "{two}"
    );
    assert!(two.contains(&uuid.to_string()), "{two}");
    assert!(two.contains("Check CUDA_VISIBLE_DEVICES"), "{two}");
}

#[test]
fn uuid_of_zeros_error_says_that_it_is_hidden() {
    let zeros = Error::NoSuchDevice { uuid: Uuid::nil(), present: Vec::new() }.to_string();
    assert!(zeros.contains("a layer, or a container's library") && !zeros.contains("CUDA_VISIBLE_DEVICES"), "{zeros}");
}

#[test]
fn old_driver_error_lists_all_missing_symbols() {
    let error = Error::from(LoadError::MissingSymbols { missing: vec!["cuA", "cuB"], version: Some(10020) });
    assert_eq!(
        error.to_string(),
        "the CUDA driver is too old (CUDA 10.2): it lacks cuA, cuB; install driver 525 or newer"
    );
}

#[test]
fn ranges_are_shown_without_overflow() {
    let error = Error::OutOfRange { object: "memory".to_owned(), offset: u64::MAX, size: 2, allocation_size: 4 };
    assert!(error.to_string().contains("18446744073709551615..18446744073709551617"), "{error}");
}
