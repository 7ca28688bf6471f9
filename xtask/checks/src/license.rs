//! SPDX license expressions, limited to what Cargo manifests use.

use anyhow::{Result, bail};

/// Returns the names in `allow = [...]` under `[licenses]` of a `deny.toml`.
pub(crate) fn allowed(deny: &str) -> Option<Vec<String>> {
    let section = deny.split_once("[licenses]")?.1;
    let list = section.split_once("allow = [")?.1.split_once(']')?.0;
    Some(list.split(',').map(|name| name.trim().trim_matches('"').to_owned()).filter(|name| !name.is_empty()).collect())
}

/// Returns `true` if the `allowed` licenses permit the use of code under `expression`.
pub(crate) fn is_met(expression: &str, allowed: &[String]) -> Result<bool> {
    // Manifests wrote `MIT/Apache-2.0` for OR before SPDX expressions.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allowed };
    let met = parser.or_expression();
    match (met, parser.words) {
        (Some(met), []) => Ok(met),
        _ => bail!("`{expression}` is not a license expression"),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a [String],
}

impl<'a> Parser<'a> {
    /// Parses terms between ORs, which have the lowest precedence.
    fn or_expression(&mut self) -> Option<bool> {
        let mut met = self.and_expression()?;
        while self.accept("OR") {
            met |= self.and_expression()?;
        }
        Some(met)
    }

    /// Parses terms between ANDs.
    fn and_expression(&mut self) -> Option<bool> {
        let mut met = self.term()?;
        while self.accept("AND") {
            met &= self.term()?;
        }
        Some(met)
    }

    fn term(&mut self) -> Option<bool> {
        if self.accept("(") {
            let met = self.or_expression()?;
            return self.accept(")").then_some(met);
        }
        let name = self.next()?;
        if matches!(name, "OR" | "AND" | "WITH" | ")") {
            return None;
        }
        // An exception only grants additional permissions.
        if self.accept("WITH") {
            self.next()?;
        }
        Some(self.allowed.iter().any(|allowed| allowed == name))
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(expression: &str) -> bool {
        is_met(expression, &["MIT".to_owned(), "Unicode-3.0".to_owned()]).unwrap()
    }

    #[test]
    fn or_is_met_by_one_operand_and_and_by_all() {
        assert!(met("MIT") && met("MIT OR GPL-3.0") && met("Apache-2.0/MIT"));
        assert!(!met("GPL-3.0") && !met("MIT AND GPL-3.0"));
        assert!(met("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!met("(MIT OR Apache-2.0) AND BSD-3-Clause"));
        assert!(met("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        // AND has a higher precedence than OR.
        assert!(met("MIT OR GPL-3.0 AND Zlib"));
    }

    #[test]
    fn invalid_expressions_are_errors() {
        for text in ["", "OR MIT", "MIT MIT", "(MIT", "MIT OR", "MIT)"] {
            assert!(is_met(text, &["MIT".to_owned()]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_list_is_read_from_deny_toml() {
        let deny = "[graph]\nallow = [\"no\"]\n[licenses]\n# why\nallow = [\n    \"MIT\",\n    \"Zlib\",\n]\n[bans]\n";
        assert_eq!(allowed(deny).unwrap(), ["MIT", "Zlib"]);
        assert_eq!(allowed("[bans]\n"), None);
    }
}
