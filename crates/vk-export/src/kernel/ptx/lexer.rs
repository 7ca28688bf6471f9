//! Splits PTX into tokens, without comments.

use crate::error::{Error, Result};

/// One token of PTX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A name, an opcode without its modifiers, or a register including `%`.
    Word(&'a str),
    /// `.entry`, `.u64`, `.shared::cluster`: without the dot. Also the modifiers of opcodes, each
    /// as a separate token, because PTX allows spaces between them.
    Directive(&'a str),
    /// A number, or text that starts with a digit.
    Number(&'a str),
    /// A string, without its contents.
    Text,
    /// Any other character.
    Mark(u8),
}

/// A token and its line number, starting at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) line: u32,
}

impl<'a> Token<'a> {
    pub(super) fn is(&self, mark: u8) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(super) fn is_directive(&self, name: &str) -> bool {
        self.kind == Kind::Directive(name)
    }

    pub(super) fn word(&self) -> Option<&'a str> {
        match self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Returns an error at a line.
pub(super) fn syntax_error(line: u32, reason: impl Into<String>) -> Error {
    Error::Ptx { line, reason: reason.into() }
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
}

/// Returns the tokens of `text`.
///
/// # Errors
/// [`Error::Ptx`] for unterminated comments and strings, for characters that are not ASCII outside
/// of both, and for preprocessor lines, because their result is unknown.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut lexer = Lexer { rest: text, line: 1 };
    let mut all = Vec::new();
    while let Some(token) = lexer.next()? {
        all.push(token);
    }
    Ok(all)
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%')
}

impl<'a> Lexer<'a> {
    /// Consumes `bytes` bytes, which must end at a character boundary.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        let lines = taken.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// Skips spaces and comments.
    fn skip(&mut self) -> Result<()> {
        loop {
            self.take_while(|c| c.is_ascii_whitespace());
            if self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                let line = self.line;
                let end = self.rest.get(2..).and_then(|rest| rest.find("*/"));
                let end = end.ok_or_else(|| syntax_error(line, "a comment that begins here has no end"))?;
                self.take(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token<'a>>> {
        self.skip()?;
        let line = self.line;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let kind = match first {
            '.' => Kind::Directive(self.directive()),
            '"' => {
                self.string()?;
                Kind::Text
            }
            '#' => return Err(syntax_error(line, "preprocessor lines are not supported; pass the preprocessed text")),
            c if c.is_ascii_digit() => Kind::Number(self.take_while(|c| c.is_ascii_alphanumeric() || c == '.')),
            c if in_name(c) => Kind::Word(self.take_while(in_name)),
            c if c.is_ascii() && !c.is_ascii_control() => Kind::Mark(self.take(1).bytes().next().unwrap_or_default()),
            c => return Err(syntax_error(line, format!("{c:?} is not a character of PTX"))),
        };
        Ok(Some(Token { kind, line }))
    }

    /// Consumes a dot and a name, including parts joined with `::`.
    fn directive(&mut self) -> &'a str {
        self.take(1);
        let all = self.rest;
        self.take_while(in_name);
        while self.rest.starts_with("::") {
            self.take(2);
            self.take_while(in_name);
        }
        all.get(..all.len() - self.rest.len()).unwrap_or_default()
    }

    fn string(&mut self) -> Result<()> {
        let line = self.line;
        self.take(1);
        let mut escaped = false;
        let end = self.rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.ok_or_else(|| syntax_error(line, "a string that begins here has no end"))?;
        self.take(end + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        tokens(text).unwrap_or_default().into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn modifiers_are_separated_with_any_spacing() {
        use Kind::{Directive, Mark, Number, Text, Word};
        let barrier = [Word("barrier"), Directive("cluster"), Directive("arrive"), Mark(b';')];
        assert_eq!(kinds("barrier.cluster.arrive;"), barrier);
        assert_eq!(kinds("barrier /* a */ .cluster\n// b\n .arrive ;"), barrier);
        let copy = [Word("cp"), Directive("async"), Directive("bulk"), Directive("shared::cluster")];
        assert_eq!(kinds("cp.async.bulk.shared::cluster"), copy);
        assert_eq!(kinds("$L__BB1: %tid.x"), [Word("$L__BB1"), Mark(b':'), Word("%tid"), Directive("x")]);
        assert_eq!(kinds("8.0 0f3F800000 \"a\\\"b;\""), [Number("8.0"), Number("0f3F800000"), Text]);
    }

    #[test]
    fn lines_are_counted_in_comments_and_strings() {
        let all = tokens("a\n/*\n\n*/ b \"\n\" // c\n d").unwrap_or_default();
        let lines: Vec<_> = all.iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 4, 4, 6]);
    }

    #[test]
    fn unterminated_comments_and_strings_are_errors() {
        for text in ["/* a", "\"a", "a\n#define b trap", "a\u{e9}", "\u{0}"] {
            assert!(matches!(tokens(text), Err(Error::Ptx { .. })), "{text:?}");
        }
    }
}
