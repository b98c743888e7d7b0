//! Which render comes first.
//!
//! The seam for fair share: [`fill`](super::fill) takes renders in the order this gives and knows nothing else about it. Today it
//! is first in, first out; weights, priorities and quotas of tenants go into [`Rank`] and [`order`].

use hyperfarm_proto::id::RenderId;

/// What a render's place depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
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
    fn first_in_first_out() {
        let rank = |at, id: &str| Rank { created_at_ms: at, render: id.parse().unwrap() };
        let ordered = order(vec![rank(2, "a"), rank(1, "c"), rank(1, "b")]);
        assert_eq!(ordered.iter().map(RenderId::as_str).collect::<Vec<_>>(), ["b", "c", "a"]);
    }
}
