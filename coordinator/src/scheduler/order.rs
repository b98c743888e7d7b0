//! Which render comes first.
//!
//! The higher priority comes first, then the older render. This is the place for fair shares of tenants:
//! [`fill_windows`](super::fill_windows) takes renders in the order that [`order`] gives, so weights and quotas go into [`Rank`].

use std::cmp::Reverse;

use hyperfarm_proto::id::RenderId;

/// What the place of a render in the order depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The higher one comes first.
    pub priority: Reverse<i32>,
    /// Unix milliseconds of its submission.
    pub created_at_ms: u64,
    /// Its id, which breaks ties.
    pub render: RenderId,
}

/// The renders in the order in which their tasks are dispatched.
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
