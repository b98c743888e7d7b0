//! Which render comes first.
//!
//! The seam for fair share: [`fill`](super::fill) takes renders in the order this gives and knows nothing else about it. Today it
//! is the higher priority, then first in, first out; weights and quotas of tenants go into [`Rank`] and [`order`].

use std::cmp::Reverse;

use hyperfarm_proto::id::RenderId;

/// What a render's place depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The higher of two goes first.
    pub priority: Reverse<i32>,
    /// Unix milliseconds of its intake.
    pub created_at_ms: u64,
    /// Settles ties.
    pub render: RenderId,
}

/// The renders in the order in which their wishes are met.
pub fn order(mut ranks: Vec<Rank>) -> Vec<RenderId> {
    ranks.sort();
    ranks.into_iter().map(|rank| rank.render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_priority_then_first_in_first_out() {
        let rank = |priority, at, id: &str| Rank {
            priority: Reverse(priority),
            created_at_ms: at,
            render: id.parse().unwrap(),
        };
        let ordered =
            order(vec![rank(0, 2, "a"), rank(0, 1, "c"), rank(0, 1, "b"), rank(-1, 0, "z"), rank(5, 9, "first")]);
        assert_eq!(ordered.iter().map(RenderId::as_str).collect::<Vec<_>>(), ["first", "b", "c", "a", "z"]);
    }
}
