//! The measurements. Each file contains one kind of case; a case produces one or more rows.

mod bandwidth;
mod capture;
mod filter;
mod frames;
mod graph;
mod grow;
mod handover;
mod host_image;
mod image;
mod inline;
mod inside;
mod latest;
mod load;
mod memory;
mod pacing;
mod particles;
mod peer;
mod pool;
#[cfg(target_os = "linux")]
mod processes;
mod record;
mod render_first;
mod resources;
mod setup;
mod show;
mod staging;
mod start;
mod timeline;
mod view;
mod waits;

use std::cell::RefCell;
use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::gpu::Gpu;
use crate::harness::rounds::MIN_ROUNDS;
use crate::options::Profile;
use crate::report::spans::Spans;
use crate::report::{Better, Goal, Measured, Outcome, Row, Samples};

/// The environment in which cases run.
pub(crate) struct Bench {
    pub(crate) gpu: Gpu,
    pub(crate) profile: Profile,
    /// Data that cases leave for plots.
    pub(crate) spans: RefCell<Vec<Spans>>,
}

/// A measurement.
pub(crate) struct Case {
    /// Its name, which is the prefix of the names of its rows.
    pub(crate) name: String,
    /// Its description.
    pub(crate) what: String,
    pub(crate) run: Box<Run>,
}

/// Function that measures and adds rows.
type Run = dyn Fn(&Bench, &mut Rows) -> Result<()>;

impl Case {
    fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        run: impl Fn(&Bench, &mut Rows) -> Result<()> + 'static,
    ) -> Self {
        Self { name: name.into(), what: what.into(), run: Box::new(run) }
    }
}

/// Returns all cases of a profile, in the order in which they run.
pub(crate) fn all(profile: &Profile) -> Vec<Case> {
    [
        handover::cases(profile),
        render_first::cases(profile),
        latest::cases(profile),
        #[cfg(target_os = "linux")]
        processes::cases(profile),
        waits::cases(profile),
        start::cases(profile),
        setup::cases(profile),
        pool::cases(profile),
        grow::cases(profile),
        graph::cases(profile),
        inline::cases(profile),
        peer::cases(profile),
        inside::cases(profile),
        filter::cases(profile),
        load::cases(profile),
        capture::cases(profile),
        image::cases(profile),
        host_image::cases(profile),
        bandwidth::cases(profile),
        memory::cases(profile),
        resources::cases(profile),
        particles::cases(profile),
        record::cases(profile),
        pacing::cases(profile),
        view::cases(profile),
        timeline::cases(profile),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The rows of one case.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    case: String,
    parameters: BTreeMap<String, Value>,
}

impl Rows {
    /// Creates the empty rows of a case.
    pub(crate) fn of(case: &Case) -> Self {
        Self { case: case.name.clone(), ..Self::default() }
    }

    /// Adds a parameter of the measurement to the rows that follow.
    fn parameter(&mut self, name: &str, value: impl Into<Value>) {
        self.parameters.insert(name.to_owned(), value.into());
    }

    /// Adds a row for a duration or another value of which less is better. `part` is the suffix of
    /// its name; empty if the case has one row.
    fn lower(
        &mut self,
        part: &str,
        what: impl Into<String>,
        unit: &str,
        bridge: &[f64],
        others: &[Samples<'_>],
        goal: Option<Goal>,
    ) -> Result<()> {
        let measured = Measured::new(bridge, others, Better::Lower, goal)?;
        self.push(part, what.into(), unit, measured)
    }

    /// Adds a row for a rate, of which more is better.
    fn higher(
        &mut self,
        part: &str,
        what: impl Into<String>,
        unit: &str,
        bridge: &[f64],
        others: &[Samples<'_>],
        goal: Option<Goal>,
    ) -> Result<()> {
        let measured = Measured::new(bridge, others, Better::Higher, goal)?;
        self.push(part, what.into(), unit, measured)
    }

    fn push(&mut self, part: &str, what: String, unit: &str, measured: Measured) -> Result<()> {
        let samples = measured.bridge.samples;
        ensure!(
            samples >= MIN_ROUNDS,
            "{what}: a figure of {samples} samples says nothing; the fewest are {MIN_ROUNDS}"
        );
        self.rows.push(Row {
            name: if part.is_empty() { self.case.clone() } else { format!("{}/{part}", self.case) },
            what,
            parameters: self.parameters.clone(),
            unit: unit.to_owned(),
            outcome: Outcome::Measured(measured),
        });
        Ok(())
    }
}

/// Formats a size with a binary unit.
fn bytes(size: u64) -> String {
    let (unit, shift) = match size {
        size if size >= 1 << 30 => ("GiB", 30),
        size if size >= 1 << 20 => ("MiB", 20),
        _ => ("KiB", 10),
    };
    format!("{} {unit}", size >> shift)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::Options;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        for arguments in [&["bridge-bench"][..], &["bridge-bench", "--quick"]] {
            let cases = all(&Options::try_parse_from(arguments).unwrap().profile());
            let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(names.iter().all(|name| !name.contains([' ', ','])), "{names:?}");
        }
    }

    #[test]
    fn one_sample_makes_no_row() {
        let mut rows = Rows::default();
        let error = rows.lower("", "a frame", "µs", &[1.0], &[], None).unwrap_err();
        assert!(error.to_string().contains("1 samples"), "{error}");
        rows.lower("", "a frame", "µs", &[1.0; MIN_ROUNDS], &[], None).unwrap();
        assert_eq!(rows.rows.len(), 1);
    }

    #[test]
    fn sizes_are_whole() {
        assert_eq!([bytes(4 << 10), bytes(64 << 20), bytes(4 << 30)], ["4 KiB", "64 MiB", "4 GiB"]);
    }
}
