//! `cargo xtask tables`: the figures in README.md and BENCHMARKS.md, from the published results of
//! the benchmark.
//!
//! A document holds `<!-- figures: NAME -->` and `<!-- end of figures -->`; what is between them is
//! the template `benches/tables/NAME.md` with its placeholders filled in:
//!
//! | placeholder | figure |
//! |---|---|
//! | `{row}` | the bridge's median |
//! | `{row @ way}` | another way's median |
//! | `{row ratio}` | the ratio to the best rival |
//! | `{… / 1000}` | divided |
//! | `{device}`, `{driver}`, `{cuda}`, `{date}` | the machine's |
//! | `{goals}`, `{missed}`, `{misses}` | how many goals there are and were missed, and a list of those |

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde_json::Value;

const DOCUMENTS: &[&str] = &["README.md", "BENCHMARKS.md"];
const RESULTS: &str = "benches/results/results.json";
const TEMPLATES: &str = "benches/tables";
const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- end of figures -->";

/// Writes the figures into the documents, or checks that they are there.
pub(crate) fn run(check: bool) -> Result<()> {
    let results = Results(serde_json::from_str(&read(RESULTS)?).with_context(|| format!("{RESULTS} is no JSON"))?);
    let template = |name: &str| read(&format!("{TEMPLATES}/{name}.md"));
    for name in DOCUMENTS {
        let text = read(name)?;
        let filled = document(&text, template, &results).with_context(|| format!("in {name}"))?;
        if text == filled {
            println!("tables: {name} has the figures of {RESULTS}");
        } else if check {
            bail!("{name} has other figures than {RESULTS}; `cargo xtask tables` writes them");
        } else {
            fs::write(root()?.join(name), filled).with_context(|| format!("cannot write {name}"))?;
            println!("tables: {name} is written");
        }
    }
    Ok(())
}

/// The root of the workspace: two folders above this package, of which cargo tells.
fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run it with `cargo xtask tables`")?;
    Ok(PathBuf::from(package).join("../.."))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root()?.join(path)).with_context(|| format!("cannot read {path}"))
}

/// The document with its figures.
fn document(text: &str, template: impl Fn(&str) -> Result<String>, results: &Results) -> Result<String> {
    let (mut filled, mut rest, mut found) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").with_context(|| format!("`{BEGIN}` without an end"))?;
        let (_, after) = after.split_once(END).with_context(|| format!("figures `{name}` without `{END}`"))?;
        let figures = fill(&template(name)?, results).with_context(|| format!("in {TEMPLATES}/{name}.md"))?;
        filled += &format!("{before}{BEGIN}{name} -->\n\n{}\n\n{END}", figures.trim());
        (rest, found) = (after, true);
    }
    if !found {
        bail!("no `{BEGIN}NAME -->`");
    }
    Ok(filled + rest)
}

/// The template with its placeholders filled in.
fn fill(template: &str, results: &Results) -> Result<String> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').context("`{` without `}`")?;
        filled += before;
        filled += &results.figure(placeholder).with_context(|| format!("cannot fill {{{placeholder}}}"))?;
        rest = after;
    }
    Ok(filled + rest)
}

/// Output of the benchmark.
struct Results(Value);

impl Results {
    fn figure(&self, placeholder: &str) -> Result<String> {
        match placeholder {
            "device" | "driver" | "cuda" => Ok(self.machine(placeholder)?.to_owned()),
            "date" => Ok(self.machine("date")?.split('T').next().unwrap_or_default().to_owned()),
            "goals" => Ok(self.goals().count().to_string()),
            "missed" => Ok(self.missed().count().to_string()),
            "misses" => self.misses(),
            _ => self.of_row(placeholder),
        }
    }

    fn machine(&self, key: &str) -> Result<&str> {
        self.0["machine"][key].as_str().with_context(|| format!("the results have no {key}"))
    }

    fn rows(&self) -> impl Iterator<Item = &Value> {
        self.0["rows"].as_array().into_iter().flatten()
    }

    fn of_row(&self, placeholder: &str) -> Result<String> {
        let (path, divisor) = match placeholder.rsplit_once(" / ") {
            Some((path, divisor)) => (path, divisor.parse().with_context(|| format!("{divisor} is no number"))?),
            None => (placeholder, 1.0),
        };
        if let Some(name) = path.strip_suffix(" ratio") {
            let ratio = self.row(name)?["ratio"]["median"].as_f64();
            return Ok(format!("{:.3}", ratio.with_context(|| format!("{name} has no ratio"))?));
        }
        let (name, way) = path.split_once(" @ ").map_or((path, None), |(name, way)| (name, Some(way)));
        let row = self.row(name)?;
        let summary = match way {
            None => &row["bridge"],
            Some(way) => {
                let others = row["others"].as_array().into_iter().flatten();
                &others.into_iter().find(|other| other["name"] == way).with_context(|| format!("no way \"{way}\""))?["summary"]
            }
        };
        Ok(digits(summary["median"].as_f64().with_context(|| format!("{name} has no figures"))? / divisor))
    }

    fn row(&self, name: &str) -> Result<&Value> {
        self.rows().find(|row| row["name"] == name).with_context(|| format!("the results have no row {name}"))
    }

    /// Rows with a goal that can be missed.
    fn goals(&self) -> impl Iterator<Item = &Value> {
        self.rows().filter(|row| row["met"].is_boolean())
    }

    fn missed(&self) -> impl Iterator<Item = &Value> {
        self.goals().filter(|row| row["met"] == false)
    }

    /// A table of the rows that missed their goals.
    fn misses(&self) -> Result<String> {
        let mut text = String::from("| missed | by the bridge | ratio | goal |\n|---|---|---|---|");
        for row in self.missed() {
            let number = |value: &Value| value.as_f64().context("a row without figures");
            let (unit, bound) = (row["unit"].as_str().unwrap_or_default(), digits(number(&row["goal"]["bound"])?));
            let sign = if row["goal"]["better"] == "higher" { "at least" } else { "at most" };
            let goal = match row["goal"]["of"].as_str() {
                Some("difference") => format!("adds {sign} {bound} {unit}"),
                Some("value") => format!("{sign} {bound} {unit}"),
                _ => format!("{sign} {bound}"),
            };
            let ratio = row["ratio"]["median"].as_f64().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
            let what = row["what"].as_str().context("a row without words")?;
            text += &format!(
                "\n| {what} | {} {unit} | {ratio} | {} |",
                digits(number(&row["bridge"]["median"])?),
                goal.trim_end()
            );
        }
        Ok(text)
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn results() -> Results {
        let summary = |median: f64| json!({ "median": median });
        Results(json!({
            "machine": { "device": "A GPU", "date": "2026-11-22T10:11:12Z" },
            "rows": [
                { "name": "a/1", "what": "one", "unit": "µs", "bridge": summary(324.49), "ratio": summary(0.99454), "met": true,
                  "others": [{ "name": "raw calls", "summary": summary(9094.0) }] },
                { "name": "a/2", "what": "two", "unit": "µs", "bridge": summary(1.5), "ratio": summary(1.5), "met": false,
                  "goal": { "of": "ratio", "bound": 1.02, "better": "lower" } },
                { "name": "a/3", "state": "skipped" },
            ],
        }))
    }

    #[test]
    fn the_documents_have_the_figures_of_the_published_results() {
        run(true).unwrap();
    }

    #[test]
    fn the_readme_is_short() {
        let words = read("README.md").unwrap().split_whitespace().count();
        assert!(words < 1500, "{words} words; what not every newcomer needs belongs into docs/");
    }

    #[test]
    fn placeholders_are_figures() {
        let template =
            "{device}, {date}: {a/1}, {a/1 @ raw calls / 1000} ms, {a/1 ratio}; {missed} of {goals}\n{misses}";
        let expected = "A GPU, 2026-11-22: 324, 9.09 ms, 0.995; 1 of 2\n\
            | missed | by the bridge | ratio | goal |\n|---|---|---|---|\n| two | 1.5 µs | 1.500 | at most 1.02 |";
        assert_eq!(fill(template, &results()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_in_the_results_is_an_error() {
        for wrong in ["{b}", "{a/1 @ nobody}", "{a/3}", "{a/3 ratio}", "{driver}", "{a/1 / x}", "{a/1"] {
            assert!(fill(wrong, &results()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_stands_between_the_marks_is_replaced() {
        let template = |name: &str| Ok(format!("{name}: {{a/1}}\n"));
        let text = "before\n<!-- figures: x -->\nold\n<!-- end of figures -->\nafter\n";
        let filled = document(text, template, &results()).unwrap();
        assert_eq!(filled, "before\n<!-- figures: x -->\n\nx: 324\n\n<!-- end of figures -->\nafter\n");
        assert_eq!(document(&filled, template, &results()).unwrap(), filled);
        assert!(document("nothing", template, &results()).is_err());
        assert!(document("<!-- figures: x -->", template, &results()).is_err());
    }
}
