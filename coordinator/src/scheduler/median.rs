//! The median of values that come and go.

use std::collections::BTreeSet;

/// The median of the values of some keys, kept up to date in O(log n) for each change.
#[derive(Debug, PartialEq)]
pub(super) struct Median<K> {
    /// The lower half, rounded down.
    lower: BTreeSet<(u64, K)>,
    /// The upper half, which begins with the median.
    upper: BTreeSet<(u64, K)>,
}

impl<K> Default for Median<K> {
    fn default() -> Self {
        Self { lower: BTreeSet::new(), upper: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Median<K> {
    /// Adds the value of a key.
    pub(super) fn insert(&mut self, value: u64, key: K) {
        let is_upper = self.upper.first().is_none_or(|middle| (value, key) >= *middle);
        let half = if is_upper { &mut self.upper } else { &mut self.lower };
        half.insert((value, key));
        self.balance();
    }

    /// Removes the value of a key.
    pub(super) fn remove(&mut self, value: u64, key: K) {
        if !self.lower.remove(&(value, key)) {
            self.upper.remove(&(value, key));
        }
        self.balance();
    }

    /// The median; of an even number of values the upper one of the two in the middle.
    pub(super) fn get(&self) -> Option<u64> {
        self.upper.first().map(|(value, _)| *value)
    }

    /// Moves values until the upper half has as many as the lower one, or one more.
    fn balance(&mut self) {
        while self.lower.len() > self.upper.len() {
            self.upper.extend(self.lower.pop_last());
        }
        while self.upper.len() > self.lower.len() + 1 {
            self.lower.extend(self.upper.pop_first());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_value_in_the_middle(changes in prop::collection::vec((0..20_u64, any::<bool>()), 1..60)) {
            let (mut median, mut values) = (Median::default(), Vec::new());
            for (key, (value, is_removal)) in changes.into_iter().enumerate() {
                if is_removal && !values.is_empty() {
                    let (value, key) = values.remove(key % values.len());
                    median.remove(value, key);
                } else {
                    median.insert(value, key);
                    values.push((value, key));
                }
                let mut sorted: Vec<u64> = values.iter().map(|(value, _)| *value).collect();
                sorted.sort_unstable();
                prop_assert_eq!(median.get(), sorted.get(sorted.len() / 2).copied());
            }
        }
    }
}
