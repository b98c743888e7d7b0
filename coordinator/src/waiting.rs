//! What an open render waits for while no worker works on it.

use std::fmt;

use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::plan::Plan;

use crate::scheduler::Fleet;
use hyperfarm_api::render::Stage;

/// What a render waits for. It is displayed as a sentence about the render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Storage, which did not answer a worker.
    Storage,
    /// Ledger or broker, which did not answer a worker.
    Servers,
    /// A worker of its pool.
    Workers {
        /// The pool.
        pool: Pool,
        /// Number of its workers in quarantine.
        quarantined: u32,
    },
    /// A worker of the capture class that its plan was made with.
    Class {
        /// The pool.
        pool: Pool,
        /// The class.
        class: String,
    },
    /// A free slot of its pool.
    Slots {
        /// The pool.
        pool: Pool,
        /// Number of its slots.
        slots: u32,
    },
    /// A stitcher.
    Stitchers,
}

impl Waiting {
    /// The code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Storage => "WAITING_FOR_STORAGE",
            Self::Servers => "WAITING_FOR_SERVERS",
            Self::Workers { .. } => "WAITING_FOR_WORKERS",
            Self::Class { .. } => "WAITING_FOR_CLASS",
            Self::Slots { .. } => "WAITING_FOR_SLOTS",
            Self::Stitchers => "WAITING_FOR_STITCHERS",
        }
    }

    /// Whether the cause is an outage of a server of the farm.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Storage | Self::Servers)
    }

    /// The server whose outage made a task fail with this code.
    pub(crate) fn for_server(outage: FailureCode) -> Self {
        if outage == FailureCode::Storage { Self::Storage } else { Self::Servers }
    }

    /// What a render at `stage` with tasks in `pool`, of which no worker has one, waits for in `fleet`.
    pub(crate) fn for_slot(stage: Stage, plan: Option<&Plan>, pool: &Pool, fleet: &Fleet) -> Option<Self> {
        if stage == Stage::Done {
            return None;
        }
        if stage == Stage::Stitch {
            return (fleet.stitch_slots() == 0).then_some(Self::Stitchers);
        }
        let (pool, slots) = (pool.clone(), fleet.slots(pool));
        if slots == 0 {
            let quarantined = fleet.quarantined(&pool);
            return Some(Self::Workers { pool, quarantined });
        }
        let class = plan.map(|plan| &plan.content.class).filter(|class| fleet.lacks_class(&pool, &class.id()));
        Some(match class {
            Some(class) => Self::Class { pool, class: class.to_string() },
            None => Self::Slots { pool, slots },
        })
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outage = |f: &mut fmt::Formatter<'_>, server| {
            write!(f, "it waits for {server}, which did not answer a worker, and goes on as soon as it does")
        };
        match self {
            Self::Storage => outage(f, "storage"),
            Self::Servers => outage(f, "the farm's ledger or broker"),
            Self::Workers { pool, quarantined: 0 } => {
                write!(f, "the pool `{pool}` has no worker; the render goes on when one starts")
            }
            Self::Workers { pool, quarantined } => {
                write!(f, "no worker of the pool `{pool}` takes tasks, {quarantined} in quarantine; ")?;
                f.write_str("the render goes on when one is resumed or started")
            }
            Self::Class { pool, class } => {
                write!(
                    f,
                    "the pool `{pool}` has no worker of the capture class {class}, which its plan was made with; "
                )?;
                f.write_str("it is planned again unless such a worker starts soon")
            }
            Self::Slots { pool, slots } => {
                write!(f, "its next task waits for a free slot of the pool `{pool}`, which has {slots}")
            }
            Self::Stitchers => f.write_str("its frames are captured, and no stitcher is alive to join them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::{NodeState, NodeView};

    use super::*;
    use crate::testing;

    #[test]
    fn a_render_that_nobody_works_on_says_which_worker_is_missing() {
        let (pool, plan) = (Pool::default(), testing::plan(&[10], false));
        let node = |role: &str, class: &str| NodeView {
            class_id: class.to_owned(),
            ..NodeView::new("n".parse().unwrap(), role, pool.as_str(), 2, "")
        };
        let code = |stage, nodes: &[NodeView]| {
            let fleet = Fleet::from_nodes(nodes);
            Waiting::for_slot(stage, Some(&plan), &pool, &fleet).map(|waiting| waiting.code())
        };
        let ours = node("worker", &plan.content.class.id());
        assert_eq!(code(Stage::Capture, &[]), Some("WAITING_FOR_WORKERS"));
        assert_eq!(code(Stage::Capture, &[node("worker", "another")]), Some("WAITING_FOR_CLASS"));
        assert_eq!(code(Stage::Capture, std::slice::from_ref(&ours)), Some("WAITING_FOR_SLOTS"));
        assert_eq!(code(Stage::Stitch, std::slice::from_ref(&ours)), Some("WAITING_FOR_STITCHERS"));
        assert_eq!(code(Stage::Stitch, &[node("stitcher", "")]), None);
        let resting = NodeView { slots: 0, state: NodeState::Quarantined, ..ours.clone() };
        let fleet = Fleet::from_nodes(&[resting]);
        let waiting = Waiting::for_slot(Stage::Plan, None, &pool, &fleet).unwrap();
        assert!(waiting.to_string().contains("1 in quarantine"), "{waiting}");
    }
}
