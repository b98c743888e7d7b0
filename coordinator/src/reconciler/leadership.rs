//! Which coordinator schedules. Any number of them serve the API; the leader alone plans, dispatches and ends renders.
//!
//! **Invariants**
//! - *A lease in the ledger.* The leader renews it every [`RENEW_EVERY`]; a standby that finds it run out takes it. By
//!   its own clock the leader's ends [`MARGIN`] earlier than in the ledger, so that a process that was stopped for a
//!   while does not act on an old lease.
//! - *The term is the fence.* The leader reads a render by its term before it acts on it, and a render that was read in
//!   a newer term refuses an older one. ([`Ledger::view_since`](hyperfarm_backplane::ledger::Ledger::view_since))

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::machine;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long the ledger keeps the lease of a leader that does not renew it.
const LEASE: Duration = Duration::from_secs(6);

/// How often the leader renews its lease, and a standby asks for it.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How much earlier than in the ledger the lease ends by the leader's own clock.
const MARGIN: Duration = Duration::from_secs(1);

/// Who leads, as this coordinator knows it. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Leadership {
    /// Id of this coordinator.
    id: Arc<str>,
    state: watch::Sender<State>,
}

/// What the ledger answered last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    /// Id of the leader.
    leader: Option<String>,
    /// The newest term that this coordinator knows.
    newest_term: u64,
    /// The term in which this coordinator leads, and when its lease ends. `None` for a standby.
    leads: Option<(u64, Instant)>,
}

impl Leadership {
    /// A standby with an id of its own.
    pub(crate) fn new() -> Self {
        let host: String =
            machine::host().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(24).collect();
        let id = format!("coordinator-{host}-{}-{:08x}", std::process::id(), fastrand::u32(..));
        Self { id: id.into(), state: watch::Sender::new(State::default()) }
    }

    /// The term in which this coordinator leads. `None` for a standby.
    pub(crate) fn term(&self) -> Option<u64> {
        self.state.borrow().leads.filter(|(_, until)| *until > Instant::now()).map(|(term, _)| term)
    }

    /// Id of the leader. `None` before the ledger has answered.
    pub(crate) fn leader(&self) -> Option<String> {
        self.state.borrow().leader.clone()
    }

    /// Answers at each change between leader and standby.
    pub(crate) fn changes(&self) -> LeadershipChanges {
        LeadershipChanges { states: self.state.subscribe(), is_leading: self.term().is_some() }
    }

    /// Notes that a newer term has begun. If nobody else leads, this coordinator leads again in one above it.
    pub(crate) fn superseded(&self, newest_term: u64) {
        self.state.send_if_modified(|state| {
            state.newest_term = state.newest_term.max(newest_term);
            state.leads.take().is_some()
        });
    }

    /// Leads no longer.
    fn stop(&self) {
        self.state.send_if_modified(|state| state.leads.take().is_some());
    }

    /// Asks the ledger for the lease, again and again.
    pub(crate) async fn run(self, backplane: Backplane) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            self.ask(&backplane).await;
        }
    }

    /// Asks the ledger for the lease, or renews it.
    pub(crate) async fn ask(&self, backplane: &Backplane) {
        let (asked_at, newest_term) = (Instant::now(), self.state.borrow().newest_term);
        let was_leading = self.term();
        match backplane.ledger.lead(&self.id, newest_term, LEASE).await {
            Ok(leader) => {
                let is_leading = *leader.id == *self.id;
                if is_leading && was_leading != Some(leader.term) {
                    info!(coordinator = %self.id, term = leader.term, "this coordinator leads");
                } else if !is_leading && self.leader().as_deref() != Some(&*leader.id) {
                    info!(
                        coordinator = %self.id, leader = leader.id, term = leader.term,
                        "this coordinator is a standby"
                    );
                }
                let leads = is_leading.then(|| (leader.term, asked_at + LEASE.saturating_sub(MARGIN)));
                self.state.send_modify(|state| {
                    let newest_term = state.newest_term.max(leader.term);
                    *state = State { leader: Some(leader.id), newest_term, leads };
                });
            }
            Err(error) if was_leading.is_some() => warn!(%error, "the lease of the scheduler could not be renewed"),
            Err(_) => self.stop(),
        }
        backplane.metrics.set_leading(self.term().is_some());
    }

    /// Ends the lease, so that a standby takes over at once.
    pub(crate) async fn resign(&self, backplane: &Backplane) {
        if self.term().is_some()
            && let Err(error) = backplane.ledger.resign(&self.id).await
        {
            warn!(%error, "the lease of the scheduler could not be ended, it runs out");
        }
        self.stop();
    }
}

/// The changes between leader and standby.
pub(crate) struct LeadershipChanges {
    states: watch::Receiver<State>,
    is_leading: bool,
}

impl LeadershipChanges {
    /// Waits for the next change, and answers whether this coordinator leads now.
    pub(crate) async fn next(&mut self) -> bool {
        let before = self.is_leading;
        // The sender lives as long as the coordinator.
        let changed = self.states.wait_for(|state| state.leads.is_some() != before).await.is_ok();
        if !changed {
            std::future::pending::<()>().await;
        }
        self.is_leading = !before;
        self.is_leading
    }
}
