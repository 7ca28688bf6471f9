//! `cargo xtask tables`: the figures in the documents, from the published results of the
//! benchmarks.
//!
//! A document contains `<!-- figures: NAME -->` and `<!-- end of figures -->`. The text between the
//! two is the template `benches/tables/NAME.md` with its placeholders filled in from the results of
//! `cargo xtask bench`, or from those of `python/bench` if the name begins with `view`. While no
//! results of `python/bench` are published, the document keeps its text.
//!
//! | placeholder | figure |
//! |---|---|
//! | `{row}` | the bridge's median |
//! | `{row @ way}` | another way's median; a dash where it was absent |
//! | `{row ratio}` | the ratio to the best rival |
//! | `{row # parameter}` | a number among the parameters or counters of the case |
//! | `{… / 1000}` | divided |
//! | `{device}`, `{driver}`, `{cuda}`, `{torch}`, `{date}` | the machine's |
//! | `{absent}` | a sentence that lists the ways that were absent |
//! | `{goals}`, `{missed}`, `{misses}` | the number of goals, of missed goals, and a table of the
//! missed ones |

use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const DOCUMENTS: &[&str] = &["README.md", "BENCHMARKS.md", "docs/python.md"];
const RESULTS: &str = "benches/results/results.json";
/// The results of `python/bench`, from a machine with a GPU.
const VIEW_RESULTS: &str = "benches/results/view.json";
/// Prefix of the templates that are filled from `VIEW_RESULTS`.
const VIEW_PREFIX: &str = "view";
const TEMPLATES: &str = "benches/tables";
const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- end of figures -->";

/// Writes the figures into the documents, or checks that the documents have them.
pub(crate) fn run(check: bool) -> Result<()> {
    let results = Results::read(RESULTS)?;
    let of_view = if root()?.join(VIEW_RESULTS).exists() { Some(Results::read(VIEW_RESULTS)?) } else { None };
    if let Some(results) = &of_view {
        let backend = results.machine("backend")?;
        ensure!(backend == "cuda", "{VIEW_RESULTS} is of the backend {backend}; only runs with CUDA are published");
    }
    if of_view.is_none() {
        crate::console::line(format_args!(
            "tables: no {VIEW_RESULTS}, which `python bench --json` writes on a GPU; the existing figures stay"
        ))?;
    }
    let figures = |name: &str| {
        let results = if name.starts_with(VIEW_PREFIX) { of_view.as_ref() } else { Some(&results) };
        let template = read(&format!("{TEMPLATES}/{name}.md"))?;
        results.map(|results| fill(&template, results)).transpose().with_context(|| format!("in {TEMPLATES}/{name}.md"))
    };
    for name in DOCUMENTS {
        let text = read(name)?;
        let filled = document(&text, figures).with_context(|| format!("in {name}"))?;
        if text == filled {
            crate::console::line(format_args!("tables: {name} has the published figures"))?;
        } else if check {
            bail!("{name} has other figures than were published; `cargo xtask tables` writes them");
        } else {
            fs::write(root()?.join(name), filled).with_context(|| format!("cannot write {name}"))?;
            crate::console::line(format_args!("tables: {name} is written"))?;
        }
    }
    Ok(())
}

/// Returns the root of the workspace: two folders above this package, whose folder cargo reports.
fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("run it with `cargo xtask tables`")?;
    Ok(PathBuf::from(package).join("../.."))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root()?.join(path)).with_context(|| format!("cannot read {path}"))
}

/// Returns the document with its figures replaced; sections without results keep their text.
fn document(text: &str, figures: impl Fn(&str) -> Result<Option<String>>) -> Result<String> {
    let (mut filled, mut rest, mut found) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").with_context(|| format!("`{BEGIN}` without an end"))?;
        let (old, after) = after.split_once(END).with_context(|| format!("figures `{name}` without `{END}`"))?;
        let between = match figures(name)? {
            Some(figures) => format!("\n\n{}\n\n", figures.trim()),
            None => old.to_owned(),
        };
        filled += &format!("{before}{BEGIN}{name} -->{between}{END}");
        (rest, found) = (after, true);
    }
    if !found {
        bail!("no `{BEGIN}NAME -->`");
    }
    Ok(filled + rest)
}

/// Returns the template with its placeholders filled in.
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

/// The output of a benchmark.
struct Results(Value);

impl Results {
    fn read(path: &str) -> Result<Self> {
        Ok(Self(serde_json::from_str(&read(path)?).with_context(|| format!("{path} is not JSON"))?))
    }

    fn figure(&self, placeholder: &str) -> Result<String> {
        match placeholder {
            "device" | "driver" | "cuda" | "torch" => Ok(self.machine(placeholder)?.to_owned()),
            "date" => Ok(self.machine("date")?.split('T').next().unwrap_or_default().to_owned()),
            "goals" => Ok(self.goals().count().to_string()),
            "missed" => Ok(self.missed().count().to_string()),
            "misses" => self.misses(),
            "absent" => Ok(self.absent()),
            _ => self.row_figure(placeholder),
        }
    }

    fn machine(&self, key: &str) -> Result<&str> {
        self.0["machine"][key].as_str().with_context(|| format!("the results have no {key}"))
    }

    fn rows(&self) -> impl Iterator<Item = &Value> {
        self.0["rows"].as_array().into_iter().flatten()
    }

    fn row_figure(&self, placeholder: &str) -> Result<String> {
        let (path, divisor) = match placeholder.rsplit_once(" / ") {
            Some((path, divisor)) => (path, divisor.parse().with_context(|| format!("{divisor} is not a number"))?),
            None => (placeholder, 1.0),
        };
        if let Some(name) = path.strip_suffix(" ratio") {
            let ratio = self.row(name)?["ratio"]["median"].as_f64().with_context(|| format!("{name} has no ratio"))?;
            return Ok(if ratio < 10.0 { format!("{ratio:.3}") } else { digits(ratio) });
        }
        if let Some((name, parameter)) = path.split_once(" # ") {
            let number = self.row(name)?["parameters"][parameter].as_f64();
            return Ok(digits(number.with_context(|| format!("{name} has no number \"{parameter}\""))? / divisor));
        }
        let (name, way) = path.split_once(" @ ").map_or((path, None), |(name, way)| (name, Some(way)));
        let row = self.row(name)?;
        let summary = match way {
            None => &row["bridge"],
            Some(way) => {
                let mut others = row["others"].as_array().into_iter().flatten();
                let other = others.find(|other| other["name"] == way).with_context(|| format!("no way \"{way}\""))?;
                if other["absent"].is_string() {
                    return Ok("–".to_owned());
                }
                &other["summary"]
            }
        };
        Ok(digits(summary["median"].as_f64().with_context(|| format!("{name} has no figures"))? / divisor))
    }

    fn row(&self, name: &str) -> Result<&Value> {
        self.rows().find(|row| row["name"] == name).with_context(|| format!("the results have no row {name}"))
    }

    /// Returns a sentence on the ways that the machine does not have.
    fn absent(&self) -> String {
        let ways = self.0["absent"].as_object().into_iter().flatten();
        let ways: Vec<_> =
            ways.map(|(way, reason)| format!("{way} ({})", reason.as_str().unwrap_or("no reason"))).collect();
        if ways.is_empty() {
            "All ways were measured.".to_owned()
        } else {
            format!("Not measured: {}.", ways.join("; "))
        }
    }

    /// Returns the rows with a goal that can be missed.
    fn goals(&self) -> impl Iterator<Item = &Value> {
        self.rows().filter(|row| row["met"].is_boolean())
    }

    fn missed(&self) -> impl Iterator<Item = &Value> {
        self.goals().filter(|row| row["met"] == false)
    }

    /// Returns a table of the rows that missed their goals.
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

/// Formats a value with three significant digits.
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
                  "parameters": { "frames": 25000, "queue": "graphics" },
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
        let template = "{device}, {date}: {a/1}, {a/1 @ raw calls / 1000} ms, {a/1 ratio}, {a/1 # frames}; {missed} of {goals}\n{misses}";
        let expected = "A GPU, 2026-11-22: 324, 9.09 ms, 0.995, 25000; 1 of 2\n\
            | missed | by the bridge | ratio | goal |\n|---|---|---|---|\n| two | 1.5 µs | 1.500 | at most 1.02 |";
        assert_eq!(fill(template, &results()).unwrap(), expected);
    }

    #[test]
    fn figures_missing_from_the_results_are_errors() {
        for wrong in [
            "{b}",
            "{a/1 @ nobody}",
            "{a/3}",
            "{a/3 ratio}",
            "{a/1 # slots}",
            "{a/1 # queue}",
            "{driver}",
            "{a/1 / x}",
            "{a/1",
        ] {
            assert!(fill(wrong, &results()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_text_between_the_marks_is_replaced() {
        let figures = |name: &str| fill(&format!("{name}: {{a/1}}\n"), &results()).map(Some);
        let text = "before\n<!-- figures: x -->\nold\n<!-- end of figures -->\nafter\n";
        let filled = document(text, figures).unwrap();
        assert_eq!(filled, "before\n<!-- figures: x -->\n\nx: 324\n\n<!-- end of figures -->\nafter\n");
        assert_eq!(document(&filled, figures).unwrap(), filled);
        assert_eq!(document(text, |_| Ok(None)).unwrap(), text, "nothing was published");
        assert!(document("nothing", figures).is_err());
        assert!(document("<!-- figures: x -->", figures).is_err());
    }

    #[test]
    fn a_way_missing_on_a_machine_is_a_dash_and_reported() {
        let with = |absent: Value, other: Value| {
            Results(json!({ "absent": absent, "rows": [
                { "name": "s/rate", "bridge": { "median": 5713.2 }, "ratio": { "median": 163.04 }, "others": [other] },
            ] }))
        };
        let template = "{s/rate} {s/rate @ slangpy} {s/rate ratio}. {absent}";
        let absent = with(json!({ "slangpy": "no module" }), json!({ "name": "slangpy", "absent": "no module" }));
        assert_eq!(fill(template, &absent).unwrap(), "5713 – 163. Not measured: slangpy (no module).");
        let measured = with(json!({}), json!({ "name": "slangpy", "summary": { "median": 35.04 } }));
        assert_eq!(fill(template, &measured).unwrap(), "5713 35 163. All ways were measured.");
    }
}
