//! Parser for a PTX module: its directives, functions and variables.

use std::collections::HashMap;

use super::body::{Body, Refused};
use super::declaration::{PtxParam, Variable, number, params, variables};
use super::lexer::{Kind, Token, syntax_error};
use crate::error::Result;

/// Contents of a module.
#[derive(Default)]
pub(super) struct Module<'a> {
    pub(super) version: &'a str,
    pub(super) target: String,
    pub(super) functions: Vec<Function<'a>>,
    /// The indices in `functions` of the functions that have a body, by name.
    pub(super) defined: HashMap<&'a str, usize>,
    /// Declared functions by name, with their line.
    declared: HashMap<&'a str, u32>,
    pub(super) shared: Vec<Variable<'a>>,
    /// Alignment between the static and the dynamic shared memory; 1 if there is no dynamic one.
    pub(super) dynamic_align: usize,
    /// Contents outside of all functions.
    pub(super) outside_functions: Body<'a>,
}

/// A function with a body.
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) body: Body<'a>,
    /// `Some` for entries only.
    pub(super) entry: Option<Header>,
}

/// The declaration of an entry, before its body.
#[derive(Default, Clone)]
pub(super) struct Header {
    pub(super) params: Vec<PtxParam>,
    pub(super) max_threads: Option<u32>,
    pub(super) required_block: Option<[u32; 3]>,
    /// A cluster directive, if any.
    pub(super) refused: Option<Refused>,
}

impl<'a> Module<'a> {
    pub(super) fn read(tokens: &[Token<'a>]) -> Result<Self> {
        let mut module = Self { dynamic_align: 1, ..Self::default() };
        let mut rest = module.preamble(tokens)?;
        let (mut loose, mut is_extern) = (Vec::new(), false);
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            match token.kind {
                Kind::Directive("extern") => is_extern = true,
                Kind::Directive("visible" | "weak" | "common") => {}
                Kind::Directive(kind @ ("entry" | "func")) => {
                    rest = module.function(rest, token.line, kind == "entry")?;
                    is_extern = false;
                }
                Kind::Directive("shared") => {
                    let end = rest.iter().position(|token| token.is(b';'));
                    let end = end.ok_or_else(|| syntax_error(token.line, "a declaration without an end"))?;
                    let (declaration, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
                    for variable in variables(declaration, token.line)? {
                        if is_extern || variable.unsized_array {
                            // `ptxas` rounds to at least 16 bytes.
                            module.dynamic_align = module.dynamic_align.max(variable.align).max(16);
                        } else {
                            module.shared.push(variable);
                        }
                    }
                    rest = after;
                }
                _ => {
                    is_extern &= !token.is(b';');
                    loose.push(*token);
                }
            }
        }
        module.outside_functions = Body::read(&loose)?;
        Ok(module)
    }

    /// Parses `.version`, `.target` and `.address_size`, which come first.
    fn preamble<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>]> {
        let line = |tokens: &[Token<'_>]| tokens.first().map_or(1, |token| token.line);
        let after = |tokens: &'t [Token<'a>], name: &str| {
            let found = tokens.split_first().filter(|(token, _)| token.is_directive(name));
            found
                .map(|(_, rest)| rest)
                .ok_or_else(|| syntax_error(line(tokens), format!("`.{name}` is missing; is this PTX?")))
        };
        let rest = after(tokens, "version")?;
        let Some((Kind::Number(version), rest)) = rest.split_first().map(|(token, rest)| (token.kind, rest)) else {
            return Err(syntax_error(line(rest), "`.version` is not a number"));
        };
        self.version = version;
        let mut rest = after(rest, "target")?;
        while let Some((token, after)) = rest.split_first() {
            match token.kind {
                Kind::Word(name) if self.target.is_empty() => self.target.push_str(name),
                Kind::Word(_) | Kind::Mark(b',') => {}
                _ => break,
            }
            rest = after;
        }
        let rest = after(rest, "address_size")?;
        match number(rest, line(rest))? {
            (64, rest) => Ok(rest),
            (other, _) => Err(syntax_error(line(rest), format!("addresses of {other} bits; compile for 64"))),
        }
    }

    fn function<'t>(&mut self, tokens: &'t [Token<'a>], line: u32, is_entry: bool) -> Result<&'t [Token<'a>]> {
        // A function's results precede its name.
        let (_, rest) = parentheses(tokens, line)?;
        let unnamed = || syntax_error(line, "a function without a name");
        let (name, rest) = rest.split_first().ok_or_else(unnamed)?;
        let name = name.word().ok_or_else(unnamed)?;
        let (between, rest) = parentheses(rest, line)?;
        let mut header = Header::default();
        if is_entry {
            header.params = params(between, line)?;
        }
        let (has_body, rest) = header.read(rest, line)?;
        if !has_body {
            self.declared.insert(name, line);
            return Ok(rest);
        }
        let mut depth = 1usize;
        let end = rest.iter().position(|token| {
            depth = depth.saturating_add(usize::from(token.is(b'{'))).saturating_sub(usize::from(token.is(b'}')));
            depth == 0
        });
        let end = end.ok_or_else(|| syntax_error(line, format!("\"{name}\" has no end")))?;
        let (body, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        if self.defined.insert(name, self.functions.len()).is_some() {
            return Err(syntax_error(line, format!("\"{name}\" is defined twice")));
        }
        let entry = is_entry.then_some(header);
        self.functions.push(Function { name, body: Body::read(body)?, entry });
        Ok(rest.get(1..).unwrap_or_default())
    }

    /// Returns `true` if a body calls a callee that is not a known function name: through a
    /// register or an alias.
    pub(super) fn calls_anything(&self, body: &Body<'_>) -> bool {
        body.called.iter().any(|name| !self.defined.contains_key(name) && !self.declared.contains_key(name))
    }

    /// Returns `true` if `name` is a function that this module declares but does not define.
    pub(super) fn is_undefined(&self, name: &str) -> bool {
        self.declared.contains_key(name) && !self.defined.contains_key(name)
    }
}

impl Header {
    /// Parses the directives between the parameters and the body. Returns whether there is a body,
    /// and the tokens after the `{` or `;`.
    fn read<'a, 't>(&mut self, tokens: &'t [Token<'a>], line: u32) -> Result<(bool, &'t [Token<'a>])> {
        let mut rest = tokens;
        while let Some((token, after)) = rest.split_first() {
            rest = after;
            match token.kind {
                Kind::Mark(b'{') => return Ok((true, rest)),
                Kind::Mark(b';') => return Ok((false, rest)),
                Kind::Directive("pragma") => {
                    let end = rest.iter().position(|token| token.is(b';')).map_or(rest.len(), |end| end + 1);
                    rest = rest.get(end..).unwrap_or_default();
                }
                Kind::Directive(name @ ("maxntid" | "reqntid")) => {
                    let (block, after) = block(rest, token.line)?;
                    rest = after;
                    let threads = block.iter().fold(1u32, |all, one| all.saturating_mul(*one));
                    self.max_threads = Some(self.max_threads.map_or(threads, |most| most.min(threads)));
                    if name == "reqntid" {
                        self.required_block = Some(block);
                    }
                }
                Kind::Directive(
                    name @ ("reqnctapercluster" | "explicitcluster" | "maxclusterrank" | "blocksareclusters"),
                ) => {
                    self.refused = Some(Refused { instruction: format!("`.{name}`"), line: token.line });
                }
                _ => {}
            }
        }
        Err(syntax_error(line, "a function without a body or an end"))
    }
}

/// Parses one to three numbers; missing dimensions are 1.
fn block<'a, 't>(tokens: &'t [Token<'a>], line: u32) -> Result<([u32; 3], &'t [Token<'a>])> {
    let (mut block, mut rest) = ([1; 3], tokens);
    for (index, dimension) in block.iter_mut().enumerate() {
        if index > 0 {
            let Some((_, after)) = rest.split_first().filter(|(token, _)| token.is(b',')) else { break };
            rest = after;
        }
        let (value, after) = number(rest, line)?;
        rest = after;
        *dimension = u32::try_from(value).map_err(|_| syntax_error(line, format!("{value} threads")))?;
    }
    Ok((block, rest))
}

/// Splits off the tokens between leading parentheses.
fn parentheses<'a, 't>(tokens: &'t [Token<'a>], line: u32) -> Result<(&'t [Token<'a>], &'t [Token<'a>])> {
    let Some((_, inside)) = tokens.split_first().filter(|(token, _)| token.is(b'(')) else { return Ok((&[], tokens)) };
    let mut depth = 1usize;
    let end = inside.iter().position(|token| {
        depth = depth.saturating_add(usize::from(token.is(b'('))).saturating_sub(usize::from(token.is(b')')));
        depth == 0
    });
    let end = end.ok_or_else(|| syntax_error(line, "a parenthesis without an end"))?;
    let (inside, rest) = inside.split_at_checked(end).unwrap_or((inside, &[]));
    Ok((inside, rest.get(1..).unwrap_or_default()))
}
