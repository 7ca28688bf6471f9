//! Alternating measurements of several ways to do the same.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::options::Profile;

/// The minimum number of rounds for a meaningful median.
pub(crate) const MIN_ROUNDS: usize = 3;

/// Takes one sample of each of `ways` per round, so that drift affects all of them: forward in one
/// round, backward in the next. A warm-up round comes first and is not counted. Returns the samples
/// of each way.
pub(crate) fn alternate<T>(
    profile: &Profile,
    rounds: usize,
    ways: usize,
    mut sample: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let begun = Instant::now();
    for way in 0..ways {
        sample(way).context("while warming up")?;
    }
    let mut samples: Vec<Vec<T>> = (0..ways).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds.max(MIN_ROUNDS) {
        if round >= MIN_ROUNDS && begun.elapsed() > profile.enough {
            break;
        }
        for turn in 0..ways {
            let way = if round % 2 == 0 { turn } else { ways - 1 - turn };
            let taken = sample(way).with_context(|| format!("in round {round}"))?;
            if let Some(samples) = samples.get_mut(way) {
                samples.push(taken);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::options::Options;

    fn profile() -> Profile {
        Options::try_parse_from(["bridge-bench"]).unwrap().profile()
    }

    #[test]
    fn ways_alternate_in_both_orders() {
        let mut order = Vec::new();
        let samples = alternate(&profile(), 4, 2, |way| {
            order.push(way);
            Ok(order.len())
        });
        assert_eq!(order, [0, 1, 0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(samples.unwrap(), [vec![3, 6, 7, 10], vec![4, 5, 8, 9]]);
    }

    #[test]
    fn a_slow_case_stops_early_but_not_too_early() {
        let profile = Profile { enough: Duration::ZERO, ..profile() };
        assert_eq!(alternate(&profile, 100, 1, |_| Ok(())).unwrap()[0].len(), MIN_ROUNDS);
    }

    #[test]
    fn a_failure_names_its_round() {
        let mut calls = 0;
        let result = alternate(&profile(), 5, 1, |_| {
            calls += 1;
            if calls == 3 { anyhow::bail!("broken") } else { Ok(()) }
        });
        assert_eq!(format!("{:#}", result.unwrap_err()), "in round 1: broken");
    }
}
