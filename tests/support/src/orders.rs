//! Orders in which objects are dropped.

/// Returns every order of the indices below `count`.
pub fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let last = count - 1;
    let with_last = |order: Vec<usize>| (0..count).map(move |at| [&order[..at], &[last], &order[at..]].concat());
    orders(last).into_iter().flat_map(with_last).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::orders;

    #[test]
    fn each_order_is_there_once() {
        let all = orders(4);
        assert_eq!(all.len(), 24);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 24);
        assert!(all.iter().all(|order| order.iter().copied().collect::<BTreeSet<_>>() == BTreeSet::from([0, 1, 2, 3])));
    }
}
