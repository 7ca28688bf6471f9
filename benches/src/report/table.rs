//! Results as Markdown tables, for the terminal and for the README.

use std::fmt::Write as _;

use super::machine::Machine;
use super::{Better, Bounded, Goal, Measured, Outcome, RAW, Results, Row};
use crate::harness::stats::{Ratio, Summary};

/// Formats all rows that `wants` selects, with one table for each kind of case.
pub(crate) fn markdown(results: &Results, wants: impl Fn(&str) -> bool) -> String {
    let mut text = format!("{}\n", origin(&results.machine, &results.profile));
    let mut kinds: Vec<&str> = Vec::new();
    for row in &results.rows {
        if !kinds.contains(&row.kind()) {
            kinds.push(row.kind());
        }
    }
    for kind in kinds {
        let rows: Vec<_> = results.rows.iter().filter(|row| row.kind() == kind && wants(&row.name)).collect();
        if !rows.is_empty() {
            write!(text, "\n{}", table(&rows)).ok();
        }
    }
    text
}

/// Returns a line on the machine and the run of the figures.
fn origin(machine: &Machine, profile: &str) -> String {
    let cuda = machine.cuda.as_ref().map_or(String::new(), |version| format!(", {version}"));
    format!(
        "{}, {}{cuda}, Vulkan {}; {} ({} threads); {}; {}{}. Medians, with the tenth and the ninetieth percentile in \
         brackets, or how few samples there are.",
        machine.device,
        machine.driver,
        machine.vulkan,
        machine.processor,
        machine.threads,
        machine.system,
        machine.date,
        if profile == "full" { String::new() } else { format!(", profile \"{profile}\"") },
    )
}

/// Formats rows as one table with aligned columns.
pub(crate) fn table(rows: &[&Row]) -> String {
    let head = ["measured", "bridge", "otherwise", "ratio", "goal"].map(str::to_owned);
    let cells: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(|row| row.cells())).collect();
    let mut widths = [3; 5];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (width, cell) in widths.iter().zip(row) {
            write!(text, "| {cell}{} ", " ".repeat(width - cell.chars().count())).ok();
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                write!(text, "|{}", "-".repeat(width + 2)).ok();
            }
            text.push_str("|\n");
        }
    }
    text
}

impl Row {
    /// Returns the first part of the name.
    pub(crate) fn kind(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    fn cells(&self) -> [String; 5] {
        let what = plain(&self.what);
        match &self.outcome {
            Outcome::Measured(measured) => {
                let [bridge, otherwise, ratio, goal] = measured.cells(&self.unit);
                [what, bridge, otherwise, ratio, goal]
            }
            Outcome::Skipped { reason } => {
                [what, format!("skipped: {}", plain(reason)), "".into(), "".into(), "".into()]
            }
            Outcome::Failed { error } => [what, format!("FAILED: {}", plain(error)), "".into(), "".into(), "".into()],
        }
    }
}

impl Measured {
    fn cells(&self, unit: &str) -> [String; 4] {
        let others = self.others.iter().map(|other| match other.name.as_str() {
            RAW => spread(&other.summary, unit),
            name => format!("{}: {} {unit}", plain(name), figure(other.summary.median)),
        });
        let goal = self.goal.map_or(String::new(), |goal| goal.text(unit, self.met));
        [
            spread(&self.bridge, unit),
            others.collect::<Vec<_>>().join("; "),
            self.ratio.map_or(String::new(), |of| ratio(of, self.bridge.samples)),
            goal,
        ]
    }
}

impl Goal {
    fn text(&self, unit: &str, met: Option<bool>) -> String {
        let sign = match self.better {
            Better::Lower => "≤",
            Better::Higher => "≥",
        };
        let bound = figure(self.bound);
        let text = match self.of {
            Bounded::Ratio => format!("{sign} {bound}"),
            Bounded::Difference => format!("adds {sign} {bound} {unit}"),
            Bounded::Value => format!("{sign} {bound} {unit}"),
        };
        let text = text.trim_end();
        match met {
            Some(true) => format!("{text}: met"),
            Some(false) => format!("{text}: **missed**"),
            None => text.to_owned(),
        }
    }
}

/// The minimum number of samples for a 10th and a 90th percentile.
const TENTHS: usize = 10;

fn spread(summary: &Summary, unit: &str) -> String {
    let Summary { median, p10, p90, p99, samples, .. } = *summary;
    if p10 == p90 {
        return format!("{} {unit}", figure(median)).trim_end().to_owned();
    }
    if samples < TENTHS {
        return format!("{} {unit} (of {samples})", figure(median));
    }
    let worst = p99.map_or_else(String::new, |p99| format!(", p99 {}", figure(p99)));
    format!("{} {unit} ({}–{}{worst})", figure(median), figure(p10), figure(p90))
}

fn ratio(ratio: Ratio, samples: usize) -> String {
    if samples < TENTHS {
        return format!("{:.3}", ratio.median);
    }
    format!("{:.3} ({:.3}–{:.3})", ratio.median, ratio.p10, ratio.p90)
}

/// Formats a value with three significant digits.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Replaces characters that would break a table.
fn plain(text: &str) -> String {
    text.replace('|', "/").replace(['\n', '\r'], " ")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::Samples;

    /// Returns results with a row of every outcome.
    pub(crate) fn results() -> Results {
        let row = |name: &str, what: &str, outcome| Row {
            name: name.into(),
            what: what.into(),
            parameters: BTreeMap::from([("slots".into(), 3.into())]),
            unit: "µs".into(),
            outcome,
        };
        let ten = |first: f64| [vec![first; 4], vec![first + 1.0; 2], vec![first + 2.0; 4]].concat();
        let hundred = ten(100.0);
        let raw = [Samples::rival("raw calls", &hundred)];
        let two = [Samples::rival("a", &[9.0]), Samples::comparison("b | c", &[0.5])];
        let measured = |ours: &[f64], others: &[Samples<'_>]| {
            Outcome::Measured(Measured::new(ours, others, Better::Lower, Some(Goal::times(1.02))).unwrap())
        };
        let machine = Machine {
            device: "A GPU".into(),
            driver: "1.2".into(),
            vulkan: "1.3".into(),
            cuda: Some("CUDA 13.0".into()),
            backend: "cuda".into(),
            processor: "A CPU".into(),
            threads: 2,
            system: "an OS".into(),
            date: "2026-11-22T10:11:12Z".into(),
            sources: Default::default(),
            clocks: Default::default(),
        };
        Results {
            version: "0.1.0".into(),
            profile: "full".into(),
            machine,
            rows: vec![
                row("handover/3/wall", "a frame", measured(&ten(101.0), &raw)),
                row("handover/4/wall", "another", measured(&[9.0, 10.0, 11.0], &two)),
                row("bandwidth/1", "a copy", Outcome::Skipped { reason: "needs CUDA".into() }),
                row("bandwidth/2", "a | b", Outcome::Failed { error: "line one\nline two".into() }),
            ],
            spans: vec![],
        }
    }

    #[test]
    fn results_become_one_table_for_each_kind() {
        let text = markdown(&results(), |_| true);
        let expected = "\
A GPU, 1.2, CUDA 13.0, Vulkan 1.3; A CPU (2 threads); an OS; 2026-11-22T10:11:12Z. Medians, with the tenth and the ninetieth percentile in brackets, or how few samples there are.

| measured | bridge           | otherwise            | ratio               | goal               |
|----------|------------------|----------------------|---------------------|--------------------|
| a frame  | 102 µs (101–103) | 101 µs (100–102)     | 1.010 (1.010–1.010) | ≤ 1.02: met        |
| another  | 10 µs (of 3)     | a: 9 µs; b / c: 0.5 µs | 1.111 | ≤ 1.02: **missed** |
";
        let squeezed = |text: &str| text.replace(['-', ' '], "");
        assert!(squeezed(&text).starts_with(&squeezed(expected)), "{text}");
        assert!(text.contains("| a copy   | skipped: needs CUDA"), "{text}");
        assert!(text.contains("| a / b    | FAILED: line one line two"), "{text}");
        let lines: Vec<_> = text.lines().skip(2).take(4).map(|line| line.chars().count()).collect();
        assert!(lines.windows(2).all(|pair| pair[0] == pair[1]), "columns are aligned: {lines:?}");
    }

    #[test]
    fn a_pattern_omits_the_other_tables() {
        let text = markdown(&results(), |name| name.starts_with("bandwidth"));
        assert!(!text.contains("a frame") && text.contains("a copy"), "{text}");
    }

    #[test]
    fn three_digits_count() {
        let figures = [(0.0, "0"), (0.1234, "0.123"), (1.5, "1.5"), (1.02, "1.02"), (15.04, "15"), (3100.0, "3100")];
        for (value, text) in figures {
            assert_eq!(figure(value), text);
        }
    }
}
