//! Results of a run: rows, the machine they were measured on, and the forms in which both are
//! shown.

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

/// The name of the file that everything is in.
pub(crate) const FILE: &str = "results.json";

/// The name of the other way where there is one: the same calls, written by hand.
pub(crate) const RAW: &str = "raw calls";

/// All that a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Version of this program.
    pub(crate) version: String,
    /// How much was measured.
    pub(crate) profile: String,
    /// What on.
    pub(crate) machine: Machine,
    /// What.
    pub(crate) rows: Vec<Row>,
    /// Where the time of a few frames went.
    pub(crate) spans: Vec<Spans>,
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its name, in parts from the general to the special: `handover/graphics/3/wall`.
    pub(crate) name: String,
    /// What it is, in words.
    pub(crate) what: String,
    /// What it was measured with.
    pub(crate) parameters: BTreeMap<String, Value>,
    /// The unit of all its figures.
    pub(crate) unit: String,
    /// Outcome.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// Outcome of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Figures.
    Measured(Measured),
    /// Not on this machine.
    Skipped {
        /// Reason.
        reason: String,
    },
    /// It went wrong.
    Failed {
        /// How.
        error: String,
    },
}

/// The bridge's way and the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// The bridge's.
    pub(crate) bridge: Summary,
    /// The others.
    pub(crate) others: Vec<Other>,
    /// The bridge's against the best of its rivals.
    pub(crate) ratio: Option<Ratio>,
    /// What was aimed at.
    pub(crate) goal: Option<Goal>,
    /// Whether that was reached.
    pub(crate) met: Option<bool>,
}

/// Another way to do the same, or a figure to put beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Other {
    /// Its name.
    pub(crate) name: String,
    /// Its figures.
    pub(crate) summary: Summary,
    /// Whether the bridge is measured against it.
    pub(crate) rival: bool,
}

/// Which of two figures is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// A duration.
    Lower,
    /// A rate.
    Higher,
}

/// What is aimed at: not more where lower is better, not less where higher is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Goal {
    /// What the bound is of.
    pub(crate) of: Bounded,
    /// The bound.
    pub(crate) bound: f64,
    /// Which way is better.
    pub(crate) better: Better,
    /// Whether it does not depend on the speed of the machine, so that missing it is a failure
    /// anywhere.
    #[serde(default)]
    pub(crate) strict: bool,
}

/// What a goal bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bounded {
    /// The ratio to the best rival.
    Ratio,
    /// What the bridge adds to the best rival.
    Difference,
    /// The bridge's own figure.
    Value,
}

impl Goal {
    /// At most so many times the best rival.
    pub(crate) fn times(bound: f64) -> Self {
        Self { of: Bounded::Ratio, bound, better: Better::Lower, strict: false }
    }

    /// So much more than the best of the others at most.
    pub(crate) fn adds(bound: f64) -> Self {
        Self { of: Bounded::Difference, bound, better: Better::Lower, strict: false }
    }
}

/// Samples of one way, with its name; rivals are what the bridge is measured against.
pub(crate) struct Samples<'a> {
    pub(crate) name: &'a str,
    pub(crate) samples: &'a [f64],
    pub(crate) rival: bool,
}

impl<'a> Samples<'a> {
    /// A way that the bridge is measured against.
    pub(crate) fn rival(name: &'a str, samples: &'a [f64]) -> Self {
        Self { name, samples, rival: true }
    }

    /// A figure to put beside it.
    pub(crate) fn beside(name: &'a str, samples: &'a [f64]) -> Self {
        Self { name, samples, rival: false }
    }
}

impl Measured {
    /// From the samples of all ways; others without samples are left out.
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
            .map(|(other, summary)| Other { name: other.name.to_owned(), summary: *summary, rival: other.rival })
            .collect();
        Ok(Self { bridge: summary, others, ratio, goal, met })
    }
}

impl Row {
    /// Whether it is a reason for the program to fail.
    pub(crate) fn is_failure(&self) -> bool {
        match &self.outcome {
            Outcome::Failed { .. } => true,
            Outcome::Measured(measured) => measured.goal.is_some_and(|goal| goal.strict) && measured.met == Some(false),
            Outcome::Skipped { .. } => false,
        }
    }
}

impl Results {
    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a file of results", path.display()))
    }

    /// Writes everything to `folder`, whole or not at all.
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
            [Samples::rival("slow", &[9.0; 3]), Samples::rival("best", &[2.0; 3]), Samples::beside("x", &[1.0])];
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
    fn goals_bound_what_they_say() {
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
    fn results_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let results = table::tests::results();
        results.write(folder.path()).unwrap();
        let read = Results::read(&folder.path().join(FILE)).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&results).unwrap());
        let error = format!("{:#}", Results::read(Path::new("/nowhere/results.json")).unwrap_err());
        assert!(error.contains("/nowhere/results.json"), "{error}");
    }
}
