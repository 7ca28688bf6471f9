//! The rows that readers are shown: those that describe the bridge's costs best.

/// Names of rows, and prefixes of names up to a `/`.
const ROWS: &[&str] = &[
    "handover/graphics/1/wall",
    "handover/graphics/3/wall",
    "handover/graphics/3/cpu",
    "handover/graphics/8/wall",
    "handover/compute/1/wall",
    "handover/compute/3/wall",
    "handover/compute/8/wall",
    "handover/transfer/1/wall",
    "handover/transfer/3/wall",
    "handover/transfer/8/wall",
    "renderfirst/3/wall",
    "wait/cuda/50us",
    "wait/cuda/5000us",
    "wait/vulkan/50us",
    "wait/vulkan/5000us",
    "waiters/cuda/5000us",
    "start",
    "pool/1MiB/make",
    "graph",
    "capture",
    "image",
    "bandwidth/memset/1GiB",
    "bandwidth/copy/1GiB",
    "bandwidth/saxpy/1GiB",
    "memory/8GiB",
    "particles",
];

/// Returns `true` if a row is shown. A row without figures has the name of its case, and is shown
/// if any row of the case is.
pub(crate) fn shows(name: &str) -> bool {
    ROWS.iter().any(|row| begins(name, row) || begins(row, name))
}

/// Returns `true` if `name` is `beginning`, or continues after it with a further part.
fn begins(name: &str, beginning: &str) -> bool {
    name.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cases;
    use crate::options::Options;

    #[test]
    fn every_row_has_a_case_that_makes_it() {
        let cases = cases::all(&Options::try_parse_from(["bridge-bench"]).unwrap().profile());
        for row in ROWS {
            let made = cases.iter().any(|case| begins(row, &case.name) || begins(&case.name, row));
            assert!(made, "no case makes {row}");
        }
        let shown = cases.iter().filter(|case| shows(&case.name)).count();
        assert!(shown > ROWS.len() && shown < cases.len() / 2, "{shown} of {} cases are shown", cases.len());
    }

    #[test]
    fn names_are_compared_part_by_part() {
        assert!(shows("graph/20/wall") && shows("handover/compute/8/wall") && shows("particles/1000000"));
        assert!(shows("handover/compute/8"), "a case that was skipped");
        assert!(!shows("handover/compute/8/cpu") && !shows("handover/compute/6/wall") && !shows("graphics/1"));
        assert!(!shows("handover/graphics/1/allocations") && !shows("setup/buffer/1MiB/make"));
    }
}
