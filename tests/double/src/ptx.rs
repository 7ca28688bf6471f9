//! The kernels of a PTX module and their parameters. Nothing else of PTX is parsed.

/// An entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    /// Size of each parameter in bytes.
    pub(crate) params: Vec<usize>,
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not PTX.
    InvalidPtx,
    /// The error in it, as the driver's compiler reports it.
    Broken(String),
}

/// Returns `true` for the first byte of white space, a comment, a directive or a preprocessor line.
/// No binary module and no empty text begins like this.
pub(crate) fn may_begin_with(first: u8) -> bool {
    first.is_ascii_whitespace() || b"./#\x0b".contains(&first)
}

pub(crate) fn kernels(text: &str) -> Result<Vec<Kernel>, Fault> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or(line)).flat_map(|it| [it, "\n"]).collect();
    if !code.contains(".version") || !code.contains(".target") {
        return Err(Fault::InvalidPtx);
    }
    let (mut found, mut before) = (Vec::new(), 0);
    for (i, part) in code.split(".entry").enumerate() {
        if i > 0 {
            let line = code[..before].matches('\n').count() + 1;
            let broken = || Fault::Broken(format!("ptxas application ptx input, line {line}; error   : Parsing error"));
            found.push(kernel(part).ok_or_else(broken)?);
        }
        before += part.len() + if i > 0 { ".entry".len() } else { 0 };
    }
    Ok(found)
}

/// Parses the text that follows `.entry`.
fn kernel(text: &str) -> Option<Kernel> {
    let text = text.trim_start();
    let end = text.find(|it: char| it.is_whitespace() || it == '(' || it == '{')?;
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let params = match rest.strip_prefix('(') {
        Some(list) => list.split(')').next()?.split(',').map(str::trim).filter(|it| !it.is_empty()).map(size).collect(),
        None => Some(Vec::new()),
    };
    Some(Kernel { name: name.to_owned(), params: params? })
}

/// Returns the size of `.param .u64 name` or `.param .align 8 .b8 name[16]`.
fn size(param: &str) -> Option<usize> {
    let bits = |word: &str| word.strip_prefix(['u', 's', 'b', 'f'])?.parse::<usize>().ok();
    let element = param.split_whitespace().filter_map(|word| bits(word.strip_prefix('.')?)).next_back()? / 8;
    let count = match param.split_once('[') {
        Some((_, count)) => count.trim_end_matches([']', ' ']).parse().ok()?,
        None => 1,
    };
    Some(element * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_their_sizes() {
        let text = "// .entry not_me()
            .version 8.0
            .target sm_52
            .visible .entry fill(
                .param .u64 fill_param_0,
                .param .u64 .ptr .global .align 16 fill_param_1, // the second
                .param .f32 fill_param_2,
                .param .align 8 .b8 fill_param_3[24]
            )
            { ret; }
            .visible .entry nothing() { ret; }
            .entry bare { ret; }";
        let expected = [("fill", vec![8, 8, 4, 24]), ("nothing", Vec::new()), ("bare", Vec::new())];
        let expected = expected.map(|(name, params)| Kernel { name: name.to_owned(), params });
        assert_eq!(kernels(text).unwrap(), expected);
        assert_eq!(kernels("\u{7f}ELF"), Err(Fault::InvalidPtx));
    }

    #[test]
    fn a_fault_is_reported_with_its_line() {
        let text = ".version 8.0\n.target sm_52\n.entry fine() { ret; }\n.entry faulty(.param what) { ret; }\n";
        let expected = "ptxas application ptx input, line 4; error   : Parsing error";
        assert_eq!(kernels(text), Err(Fault::Broken(expected.to_owned())));
    }
}
