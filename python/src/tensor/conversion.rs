//! Errors for element types that a call does not accept, with the call that converts them.
//!
//! In the advice, `t` is a tensor of torch and `x` an array of numpy or cupy.

use dlpark::ffi::{DLDataType, DLDataTypeCode};

use crate::error::{Fault, Kind};
use crate::tensor::dtype::DType;

const TO_FLOAT: &str = "use t.float() or x.astype(\"float32\")";
/// Floats are shown from 0 to 1, so integers must be scaled.
const SCALED: &str = "(t / t.max()).float() or (x / x.max()).astype(\"float32\")";
const OF_COMPLEX: &str = "use abs(x), x.real or x.imag";

/// Returns advice for an image.
pub(crate) fn of_image(dtype: DType) -> String {
    if dtype.is_integer() {
        let bytes = "for values from 0 to 255 use t.to(torch.uint8) or x.astype(\"uint8\")";
        format!("{bytes}, otherwise {SCALED}")
    } else {
        TO_FLOAT.to_owned()
    }
}

/// Returns advice for points that are not `float32`. With more than three `channels`, they contain
/// values or colors.
pub(crate) fn of_points(dtype: DType, channels: u32) -> String {
    let scale = if dtype.is_integer() && channels > 3 { "; values and colors range from 0 to 1" } else { "" };
    format!("{TO_FLOAT}{scale}")
}

/// Returns advice for values that are not `float32`.
pub(crate) fn of_values(dtype: DType) -> String {
    if dtype.is_integer() { format!("use {SCALED}") } else { TO_FLOAT.to_owned() }
}

/// Returns advice for colors that are not `float32`.
pub(crate) fn of_colors(dtype: DType) -> String {
    let bytes = "t.float() / 255 or x.astype(\"float32\") / 255";
    match dtype {
        DType::U8 => format!("use {bytes}"),
        _ if dtype.is_integer() => format!("for values from 0 to 255 use {bytes}, otherwise {SCALED}"),
        _ => TO_FLOAT.to_owned(),
    }
}

/// Returns the error for a type of DLPack that is not a [`DType`].
pub(crate) fn unknown_in_dlpack(dtype: DLDataType) -> Fault {
    let DLDataType { code, bits, lanes } = dtype;
    let name = match code {
        DLDataTypeCode::INT => format!("int{bits}"),
        DLDataTypeCode::UINT => format!("uint{bits}"),
        DLDataTypeCode::FLOAT => format!("float{bits}"),
        DLDataTypeCode::BFLOAT => format!("bfloat{bits}"),
        DLDataTypeCode::COMPLEX => format!("complex{bits}"),
        DLDataTypeCode::BOOL => format!("bool{bits}"),
        _ => match narrow(code) {
            Some(name) => name.to_owned(),
            None => format!("code {}, {bits} bits of DLPack", code.0),
        },
    };
    let name = if lanes == 1 { name } else { format!("{name}x{lanes}") };
    let is_float = code == DLDataTypeCode::FLOAT && lanes == 1;
    let advice = match code {
        DLDataTypeCode::COMPLEX => Some(OF_COMPLEX),
        _ if is_float || narrow(code).is_some() => Some(TO_FLOAT),
        _ => None,
    };
    unknown(&name, advice)
}

/// Returns the name of a float of 8 bits or less in torch and `ml_dtypes`.
fn narrow(code: DLDataTypeCode) -> Option<&'static str> {
    Some(match code {
        DLDataTypeCode::FLOAT8_E3M4 => "float8_e3m4",
        DLDataTypeCode::FLOAT8_E4M3 => "float8_e4m3",
        DLDataTypeCode::FLOAT8_E4M3B11FNUZ => "float8_e4m3b11fnuz",
        DLDataTypeCode::FLOAT8_E4M3FN => "float8_e4m3fn",
        DLDataTypeCode::FLOAT8_E4M3FNUZ => "float8_e4m3fnuz",
        DLDataTypeCode::FLOAT8_E5M2 => "float8_e5m2",
        DLDataTypeCode::FLOAT8_E5M2FNUZ => "float8_e5m2fnuz",
        DLDataTypeCode::FLOAT8_E8M0FNU => "float8_e8m0fnu",
        DLDataTypeCode::FLOAT6_E2M3FN => "float6_e2m3fn",
        DLDataTypeCode::FLOAT6_E3M2FN => "float6_e3m2fn",
        DLDataTypeCode::FLOAT4_E2M1FN => "float4_e2m1fn",
        _ => return None,
    })
}

/// Returns the error for a `typestr` that is not a [`DType`].
pub(crate) fn unknown_in_interface(typestr: &str) -> Fault {
    let name = format!("`{typestr}`");
    let mut letters = typestr.chars();
    let (order, kind, bytes) = (letters.next(), letters.next(), letters.as_str().parse::<u16>().ok());
    let (Some(order), Some(kind), Some(bytes)) = (order, kind, bytes) else { return unknown(&name, None) };
    let native = format!("<{kind}{bytes}");
    match kind {
        _ if order == '>' && DType::from_typestr(&native).is_some() => {
            unknown(&format!("{name} (big-endian)"), Some(&format!("use x.astype(\"{native}\")")))
        }
        'c' => unknown(&format!("{name} (complex{})", u32::from(bytes) * 8), Some(OF_COMPLEX)),
        'f' => unknown(&format!("{name} (float{})", u32::from(bytes) * 8), Some("use x.astype(\"float32\")")),
        // Structures, and the types that libraries such as `ml_dtypes` add to numpy.
        'V' => unknown(&name, Some("use a field, x[\"name\"], or x.astype(\"float32\") for a type such as bfloat16")),
        _ => unknown(&name, None),
    }
}

fn unknown(name: &str, advice: Option<&str>) -> Fault {
    let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
    Fault::new(Kind::DType, format!("elements of type {name} cannot be shown{advice}"))
}
