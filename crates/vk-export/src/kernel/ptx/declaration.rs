//! Parser for declarations of parameters and shared memory: sizes and offsets.

use super::lexer::{Kind, Token, syntax_error};
use crate::error::Result;

/// A parameter of a kernel: the location of its bytes in the packed arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PtxParam {
    /// Offset in bytes from the start of the arguments.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// Alignment in bytes, a power of two; the offset is a multiple of it.
    pub align: usize,
}

/// A size limit above that of any valid parameter or variable.
const MAX_SIZE: usize = 1 << 30;

/// One declared name.
pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    /// Size in bytes; 0 for an array without a length.
    pub(super) size: usize,
    pub(super) align: usize,
    /// `true` if it is an array without a length.
    pub(super) unsized_array: bool,
}

/// Returns the size in bytes of a fundamental type.
fn size_of_type(name: &str) -> Option<usize> {
    Some(match name {
        "b8" | "u8" | "s8" | "e4m3" | "e5m2" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" | "e4m3x2" | "e5m2x2" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" | "f32x2" | "texref" | "samplerref" | "surfref" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// Parses a declaration without its state space: `.align 8 .b8 name[24]`, `.u64 .ptr .global .align
/// 16 name`, optionally with further names after commas. Stops at a `=`.
pub(super) fn variables<'a>(tokens: &[Token<'a>], line: u32) -> Result<Vec<Variable<'a>>> {
    let (mut element, mut lanes, mut align) = (None, 1, None);
    let mut is_pointer = false;
    let mut all: Vec<Variable<'a>> = Vec::new();
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match token.kind {
            Kind::Directive("align") => {
                let (value, after) = number(rest, token.line)?;
                rest = after;
                if !value.is_power_of_two() || value > 1 << 16 {
                    return Err(syntax_error(
                        token.line,
                        format!("an alignment of {value} is not a power of two up to 65536"),
                    ));
                }
                // After `.ptr`, it is the alignment of the memory that the pointer points to.
                if !is_pointer {
                    align = Some(value);
                }
            }
            Kind::Directive("ptr") => is_pointer = true,
            Kind::Directive("v2") => lanes = 2,
            Kind::Directive("v4") => lanes = 4,
            Kind::Directive("v8") => lanes = 8,
            Kind::Directive("attribute") => rest = skip_parentheses(rest),
            Kind::Directive(name) => {
                if let Some(size) = size_of_type(name) {
                    element = Some(size);
                } else if !matches!(name, "global" | "const" | "shared" | "local" | "param" | "extern" | "weak") {
                    return Err(syntax_error(token.line, format!("a parameter or variable of unknown type .{name}")));
                }
            }
            Kind::Word(name) => {
                let Some(element) = element else {
                    return Err(syntax_error(token.line, format!("\"{name}\" has no type")));
                };
                let (count, after) = dimensions(rest, token.line)?;
                rest = after;
                let one = element * lanes;
                let size = one.checked_mul(count.unwrap_or(0)).filter(|size| *size <= MAX_SIZE);
                let size = size.ok_or_else(|| syntax_error(token.line, format!("\"{name}\" is too large")))?;
                let align = align.unwrap_or(one);
                all.push(Variable { name, size, align, unsized_array: count.is_none() });
            }
            Kind::Mark(b',') => {}
            Kind::Mark(b'=') => break,
            _ => return Err(syntax_error(token.line, "a declaration that cannot be read")),
        }
    }
    if all.is_empty() {
        return Err(syntax_error(line, "a declaration without a name"));
    }
    Ok(all)
}

/// Returns the product of the lengths in `[a][b]`, 1 without dimensions, `None` if a length is
/// empty; and the remaining tokens.
fn dimensions<'a, 't>(tokens: &'t [Token<'a>], line: u32) -> Result<(Option<usize>, &'t [Token<'a>])> {
    let (mut count, mut rest) = (Some(1usize), tokens);
    while let Some((open, after)) = rest.split_first().filter(|(token, _)| token.is(b'[')) {
        if let Some((_, after)) = after.split_first().filter(|(token, _)| token.is(b']')) {
            (count, rest) = (None, after);
            continue;
        }
        let (value, after) = number(after, open.line)?;
        let Some((_, after)) = after.split_first().filter(|(token, _)| token.is(b']')) else {
            return Err(syntax_error(open.line, "an array length that cannot be read"));
        };
        rest = after;
        if let Some(so_far) = count {
            let product = so_far.checked_mul(value).filter(|product| *product <= MAX_SIZE);
            count = Some(product.ok_or_else(|| syntax_error(line, "an array that is too long"))?);
        }
    }
    Ok((count, rest))
}

fn skip_parentheses<'a, 't>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return tokens.get(index + 1..).unwrap_or_default();
        }
    }
    &[]
}

/// Returns the number at the start of `tokens`, and the remaining tokens.
pub(super) fn number<'a, 't>(tokens: &'t [Token<'a>], line: u32) -> Result<(usize, &'t [Token<'a>])> {
    let unreadable = || syntax_error(line, "a number is missing or cannot be read");
    let (first, rest) = tokens.split_first().ok_or_else(unreadable)?;
    let Kind::Number(text) = first.kind else { return Err(unreadable()) };
    let text = text.trim_end_matches(['U', 'u']);
    let value = if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        usize::from_str_radix(hex, 16)
    } else if let Some(binary) = text.strip_prefix("0b").or_else(|| text.strip_prefix("0B")) {
        usize::from_str_radix(binary, 2)
    } else if text.len() > 1 && text.starts_with('0') {
        usize::from_str_radix(text, 8)
    } else {
        text.parse()
    };
    Ok((value.map_err(|_| unreadable())?, rest))
}

/// Parses the parameters between the parentheses of an entry.
pub(super) fn params(tokens: &[Token<'_>], line: u32) -> Result<Vec<PtxParam>> {
    let mut end = 0usize;
    let mut all = Vec::new();
    let declarations = tokens.split(|token| token.is(b','));
    for declaration in declarations.filter(|_| !tokens.is_empty()) {
        let line = declaration.first().map_or(line, |token| token.line);
        let [variable] =
            variables(declaration, line)?.try_into().map_err(|_| syntax_error(line, "two names in one"))?;
        if variable.unsized_array || variable.size == 0 {
            return Err(syntax_error(line, format!("parameter \"{}\" has no size", variable.name)));
        }
        let offset = end.next_multiple_of(variable.align);
        end = offset + variable.size;
        if end > MAX_SIZE {
            return Err(syntax_error(line, "parameters that are too large"));
        }
        all.push(PtxParam { offset, size: variable.size, align: variable.align });
    }
    Ok(all)
}
