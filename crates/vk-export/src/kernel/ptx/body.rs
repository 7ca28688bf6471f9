//! Parser for function bodies: instructions that must not run in a Vulkan queue, calls, and shared
//! memory.

use std::collections::HashSet;

use super::declaration::{Variable, variables};
use super::lexer::{Kind, Token};
use crate::error::Result;

/// Functions of the CUDA driver that hang a queue or have no effect in it, however they are called.
const DRIVER_FUNCTIONS: [&str; 4] = ["malloc", "free", "vprintf", "__assertfail"];

/// An instruction that must not run in a Vulkan queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) instruction: String,
    pub(super) line: u32,
}

/// Contents of a function, or of the text outside of all functions.
#[derive(Default)]
pub(super) struct Body<'a> {
    pub(super) refused: Option<Refused>,
    /// Every distinct word with its first line, including names of functions and variables.
    pub(super) words: Vec<(&'a str, u32)>,
    /// Callees: names of functions, or registers. An empty string if the callee could not be
    /// determined.
    pub(super) called: Vec<&'a str>,
    /// Shared memory declared in the body.
    pub(super) shared: Vec<Variable<'a>>,
}

impl<'a> Body<'a> {
    pub(super) fn read(tokens: &[Token<'a>]) -> Result<Self> {
        let mut body = Self::default();
        let mut known = HashSet::new();
        for token in tokens {
            if let Some(word) = token.word()
                && known.insert(word)
            {
                body.words.push((word, token.line));
            }
        }
        let mut rest = tokens;
        while !rest.is_empty() {
            rest = body.statement(rest)?;
        }
        Ok(body)
    }

    /// Reads one statement and returns what follows it.
    fn statement<'t>(&mut self, tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>]> {
        let tokens = guard(tokens);
        let Some((first, after)) = tokens.split_first() else { return Ok(&[]) };
        match first.kind {
            // These directives end without a semicolon.
            Kind::Directive("loc" | "file") => return Ok(location(after)),
            Kind::Word(_) if after.first().is_some_and(|token| token.is(b':')) => {
                return Ok(after.get(1..).unwrap_or_default());
            }
            Kind::Mark(_) => return Ok(after),
            _ => {}
        }
        let end = after.iter().position(|token| matches!(token.kind, Kind::Mark(b';' | b'{' | b'}')));
        let (operands, rest) = after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, &[]));
        match first.kind {
            Kind::Directive("shared") => {
                // Braces occur only with initial values, which shared memory cannot have.
                self.shared.extend(variables(operands, first.line)?.into_iter().filter(|one| !one.unsized_array));
            }
            Kind::Word(opcode) => {
                if opcode == "call" {
                    self.called.push(target(operands));
                }
                let instruction = instruction(opcode, operands);
                if let Some(instruction) = instruction
                    && self.refused.is_none()
                {
                    self.refused = Some(Refused { instruction, line: first.line });
                }
            }
            _ => {}
        }
        Ok(rest)
    }
}

/// Returns the tokens after a predicate, `@p` or `@!p`.
fn guard<'a, 't>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let Some((_, rest)) = tokens.split_first().filter(|(token, _)| token.is(b'@')) else { return tokens };
    let negated = usize::from(rest.first().is_some_and(|token| token.is(b'!')));
    rest.get(negated + 1..).unwrap_or_default()
}

/// Returns the tokens after the numbers and names of a `.loc` or `.file`.
fn location<'a, 't>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut rest = tokens;
    loop {
        let taken = match rest.first().map(|token| token.kind) {
            Some(Kind::Number(_) | Kind::Text | Kind::Mark(b',' | b'+' | b'-')) => 1,
            Some(Kind::Word("inlined_at")) => 1,
            Some(Kind::Word("function_name")) => 2,
            _ => return rest,
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// Returns the callee of a `call`: the first word after its modifiers and its results, which are in
/// parentheses.
fn target<'a>(operands: &[Token<'a>]) -> &'a str {
    let mut depth = 0usize;
    for token in operands {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            Kind::Word(word) if depth == 0 => return word,
            _ => {}
        }
    }
    ""
}

/// Returns a description of the instruction if it must not run in a Vulkan queue.
fn instruction(opcode: &str, operands: &[Token<'_>]) -> Option<String> {
    let has = |name: &str| operands.iter().any(|token| token.is_directive(name));
    let called = || operands.iter().filter_map(Token::word).find(|word| DRIVER_FUNCTIONS.contains(word));
    match opcode {
        "trap" | "brkpt" | "mapa" | "getctarank" | "clusterlaunchcontrol" => Some(format!("`{opcode}`")),
        "barrier" if has("cluster") => Some("`barrier.cluster`".into()),
        "call" => called().map(|name| format!("a call of `{name}`")),
        // These operate across the blocks of a cluster.
        _ => ["multicast::cluster", "cta_group::2"]
            .into_iter()
            .find(|name| has(name))
            .map(|name| format!("`{opcode}` with `.{name}`")),
    }
}
