//! The results of a run: rows, the machine that they were measured on, and the output formats.

pub(crate) mod digest;
pub(crate) mod machine;
pub(crate) mod plots;
pub(crate) mod provenance;
pub(crate) mod publish;
pub(crate) mod spans;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::harness::stats::{Ratio, Summary};
use machine::Machine;
use spans::Spans;

/// The name of the results file.
pub(crate) const FILE: &str = "results.json";

/// The name of the way that makes the same calls by hand.
pub(crate) const RAW: &str = "raw calls";

/// The results of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The version of this program.
    pub(crate) version: String,
    /// The name of the profile.
    pub(crate) profile: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// How a few frames spent their time.
    pub(crate) spans: Vec<Spans>,
}

/// One measured quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name, in parts from the general to the specific: `handover/graphics/3/wall`.
    pub(crate) name: String,
    /// Its description.
    pub(crate) what: String,
    /// The parameters of the measurement.
    pub(crate) parameters: BTreeMap<String, Value>,
    /// The unit of all its figures.
    pub(crate) unit: String,
    /// Its outcome.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// The outcome of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The row was measured.
    Measured(Measured),
    /// This machine cannot run the case.
    Skipped {
        /// The reason.
        reason: String,
    },
    /// The case failed.
    Failed {
        /// The error.
        error: String,
    },
}

/// The figures of the bridge and of the other ways.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The bridge's figures.
    pub(crate) bridge: Summary,
    /// The figures of the other ways.
    pub(crate) others: Vec<Comparison>,
    /// The bridge compared with its best rival.
    pub(crate) ratio: Option<Ratio>,
    /// The goal.
    pub(crate) goal: Option<Goal>,
    /// Whether the goal was met.
    pub(crate) met: Option<bool>,
}

/// Another way to do the same, or a figure for comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Its name.
    pub(crate) name: String,
    /// Its figures.
    pub(crate) summary: Summary,
    /// `true` if the bridge is compared with it.
    pub(crate) rival: bool,
}

/// Which of two figures is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// The lower one, as for a duration.
    Lower,
    /// The higher one, as for a rate.
    Higher,
}

/// A goal: an upper bound if lower is better, a lower bound if higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    /// The quantity that is bounded.
    pub(crate) of: Bounded,
    /// The bound.
    pub(crate) bound: f64,
    /// The direction that is better.
    pub(crate) better: Better,
    /// `true` if the goal does not depend on the speed of the machine, so that missing it is a
    /// failure on any machine.
    #[serde(default)]
    pub(crate) strict: bool,
}

/// The quantity that a goal bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bounded {
    /// The ratio to the best rival.
    Ratio,
    /// The difference to the best rival.
    Difference,
    /// The bridge's own figure.
    Value,
}

impl Goal {
    /// Returns the goal of at most `bound` times the best rival.
    pub(crate) fn times(bound: f64) -> Self {
        Self { of: Bounded::Ratio, bound, better: Better::Lower, strict: false }
    }

    /// Returns the goal of at most `bound` more than the best rival.
    pub(crate) fn adds(bound: f64) -> Self {
        Self { of: Bounded::Difference, bound, better: Better::Lower, strict: false }
    }
}

/// The samples of one way, with its name; the bridge is compared with rivals.
pub(crate) struct Samples<'a> {
    pub(crate) name: &'a str,
    pub(crate) samples: &'a [f64],
    pub(crate) rival: bool,
}

impl<'a> Samples<'a> {
    /// Returns a way that the bridge is compared with.
    pub(crate) fn rival(name: &'a str, samples: &'a [f64]) -> Self {
        Self { name, samples, rival: true }
    }

    /// Returns a figure to show for comparison.
    pub(crate) fn comparison(name: &'a str, samples: &'a [f64]) -> Self {
        Self { name, samples, rival: false }
    }
}

impl Measured {
    /// Summarizes the samples of all ways; omits other ways without samples.
    pub(crate) fn new(bridge: &[f64], others: &[Samples<'_>], better: Better, goal: Option<Goal>) -> Result<Self> {
        let summary = Summary::of(bridge).context("no samples were taken")?;
        let summarized = others.iter().filter_map(|other| Some((other, Summary::of(other.samples)?)));
        let summarized: Vec<_> = summarized.collect();
        let rivals = summarized.iter().filter(|(other, _)| other.rival);
        let best = match better {
            Better::Lower => rivals.min_by(|a, b| a.1.median.total_cmp(&b.1.median)),
            Better::Higher => rivals.max_by(|a, b| a.1.median.total_cmp(&b.1.median)),
        };
        let ratio = best.and_then(|(best, _)| Ratio::of(bridge, best.samples));
        let met = goal.and_then(|goal| {
            let value = match goal.of {
                Bounded::Ratio => ratio?.median,
                Bounded::Difference => summary.median - best?.1.median,
                Bounded::Value => summary.median,
            };
            Some(match goal.better {
                Better::Lower => value <= goal.bound,
                Better::Higher => value >= goal.bound,
            })
        });
        let others = summarized
            .iter()
            .map(|(other, summary)| Comparison { name: other.name.to_owned(), summary: *summary, rival: other.rival })
            .collect();
        Ok(Self { bridge: summary, others, ratio, goal, met })
    }
}

impl Row {
    /// Returns `true` if the row makes the program fail.
    pub(crate) fn is_failure(&self) -> bool {
        match &self.outcome {
            Outcome::Failed { .. } => true,
            Outcome::Measured(measured) => measured.goal.is_some_and(|goal| goal.strict) && measured.met == Some(false),
            Outcome::Skipped { .. } => false,
        }
    }
}

impl Results {
    /// Reads the output of [`write`](Self::write).
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a file of results", path.display()))
    }

    /// Writes the results to `folder` atomically.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let mut file = bridge_examples::files::AtomicFile::create(&folder.join(FILE))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        std::io::Write::write_all(&mut file, b"\n")?;
        file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [f64; 3] = [2.0, 2.1, 2.2];

    #[test]
    fn the_best_rival_counts() {
        let others =
            [Samples::rival("slow", &[9.0; 3]), Samples::rival("best", &[2.0; 3]), Samples::comparison("x", &[1.0])];
        let measured = Measured::new(&OURS, &others, Better::Lower, Some(Goal::times(1.02))).unwrap();
        assert!((measured.ratio.unwrap().median - 1.05).abs() < 1e-12);
        assert_eq!(measured.met, Some(false));
        assert_eq!(measured.others.len(), 3);
        let goal = Goal { of: Bounded::Ratio, bound: 0.2, better: Better::Higher, strict: false };
        let rate = Measured::new(&OURS, &others, Better::Higher, Some(goal)).unwrap();
        assert!((rate.ratio.unwrap().median - 2.1 / 9.0).abs() < 1e-12);
        assert_eq!(rate.met, Some(true));
    }

    #[test]
    fn goals_bound_the_value_or_the_difference() {
        let met = |of, bound| {
            let goal = Goal { of, bound, better: Better::Lower, strict: false };
            Measured::new(&OURS, &[Samples::rival("raw", &[1.5; 3])], Better::Lower, Some(goal)).unwrap().met
        };
        assert_eq!((met(Bounded::Difference, 0.61), met(Bounded::Difference, 0.59)), (Some(true), Some(false)));
        assert_eq!((met(Bounded::Value, 2.1), met(Bounded::Value, 2.0)), (Some(true), Some(false)));
    }

    #[test]
    fn without_a_rival_there_is_no_ratio_and_nothing_is_met() {
        let measured = Measured::new(&OURS, &[Samples::rival("none", &[])], Better::Lower, Some(Goal::times(2.0)));
        let measured = measured.unwrap();
        assert!(measured.ratio.is_none() && measured.met.is_none() && measured.others.is_empty());
        assert!(Measured::new(&[], &[], Better::Lower, None).is_err());
    }

    #[test]
    fn results_round_trip_through_json() {
        let folder = tempfile::tempdir().unwrap();
        let results = table::tests::results();
        results.write(folder.path()).unwrap();
        let read = Results::read(&folder.path().join(FILE)).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&results).unwrap());
        let error = format!("{:#}", Results::read(Path::new("/nowhere/results.json")).unwrap_err());
        assert!(error.contains("/nowhere/results.json"), "{error}");
    }
}
