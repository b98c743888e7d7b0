//! A process of the farm: it reaches the servers through a network that fails, and dies between two calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::broker::{Broker, MemoryBroker};
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_backplane::objects::Objects;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::broker::FaultyBroker;
use crate::ledger::FaultyLedger;
use crate::store::FaultyStore;
use crate::world::{Fate, Server, World};

pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) world: Arc<World>,
    /// Whether it has died. What it does from then on waits for ever at its next call.
    is_dead: watch::Sender<bool>,
    /// Steps until it dies.
    dies_after: AtomicU64,
    connection: Mutex<Arc<MemoryBroker>>,
    /// Deliveries of the present connection that it has not settled.
    held: Mutex<BTreeSet<u64>>,
    deliveries: AtomicU64,
}

impl Process {
    pub(crate) fn new(name: String, world: Arc<World>) -> Arc<Self> {
        world.note(format!("{name} starts"));
        Arc::new(Self {
            connection: Mutex::new(Arc::new(world.broker.connection())),
            name,
            world,
            is_dead: watch::Sender::new(false),
            dies_after: AtomicU64::new(u64::MAX),
            held: Mutex::default(),
            deliveries: AtomicU64::new(0),
        })
    }

    /// Its connections.
    pub(crate) fn backplane(self: &Arc<Self>) -> Backplane {
        Backplane {
            broker: Arc::new(FaultyBroker { process: self.clone() }),
            ledger: Arc::new(FaultyLedger { process: self.clone() }),
            objects: Objects::over(Arc::new(FaultyStore { process: self.clone() })),
            metrics: Metrics::new(),
        }
    }

    pub(crate) fn note(&self, line: &str) {
        self.world.note(format!("{} {line}", self.name));
    }

    /// Lets it die at one of its next calls.
    pub(crate) fn dies_within(&self, steps: u64) {
        self.dies_after.store(steps, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.is_dead.borrow()
    }

    pub(crate) async fn dies(&self) {
        // The sender lives as long as the process.
        let _ = self.is_dead.subscribe().wait_for(|is_dead| *is_dead).await;
    }

    /// Ends it at once. Its connection breaks, so the broker puts back what it held.
    pub(crate) fn kill(&self) {
        if self.is_dead() {
            return;
        }
        self.note("dies");
        self.is_dead.send_replace(true);
        self.world.judge.lock().died(&self.name);
        self.disconnect();
    }

    /// Breaks its connection to the broker. A next one is made by the next call.
    pub(crate) fn disconnect(&self) {
        let held = std::mem::take(&mut *self.held.lock()).len() as u64;
        let connection = std::mem::replace(&mut *self.connection.lock(), Arc::new(self.world.broker.connection()));
        let before = self.world.waiting();
        connection.close().now_or_never();
        let back = self.world.waiting() - before;
        self.note(&format!("loses its connection to the broker, {back} messages are back"));
        if back < held {
            let violation = format!("{} held {held} messages when its connection broke, {back} are back", self.name);
            self.world.judge.lock().violated(violation);
        }
    }

    pub(crate) fn connection(&self) -> Arc<MemoryBroker> {
        Arc::clone(&self.connection.lock())
    }

    /// A point at which it may die. A dead process goes no further.
    pub(crate) async fn step(&self, what: &str) {
        if self.dies_after.load(Ordering::Relaxed) != u64::MAX && self.dies_after.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.note(&format!("is about to die {what}"));
            self.kill();
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks a server. `work` is what the server does; `lost` makes the error of a call that has no answer.
    pub(crate) async fn call<T, E>(
        &self,
        server: Server,
        what: &str,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
        lost: impl Fn(&'static str) -> E,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.step(what).await;
        let pause = tokio::time::sleep;
        match self.world.fate(server, &self.name) {
            Fate::Answered { arrives, returns } => {
                pause(arrives).await;
                let answer = work.await;
                self.step(what).await;
                pause(returns).await;
                self.step(what).await;
                answer
            }
            Fate::Refused { after } => {
                self.note(&format!("{what}: the request is lost"));
                pause(after).await;
                self.step(what).await;
                Err(lost("connection refused"))
            }
            Fate::Unanswered { arrives, gives_up } => {
                pause(arrives).await;
                drop(work.await);
                self.note(&format!("{what}: the answer is lost"));
                pause(gives_up).await;
                self.step(what).await;
                Err(lost("no answer"))
            }
            Fate::Late { arrives, gives_up } => {
                self.note(&format!("{what}: the request is late by {arrives:?}"));
                tokio::spawn(async move {
                    pause(arrives).await;
                    drop(work.await);
                });
                pause(gives_up.min(arrives)).await;
                self.step(what).await;
                Err(lost("timed out"))
            }
        }
    }

    /// Notes a delivery that it holds, and answers a number for it.
    pub(crate) fn holds(&self) -> u64 {
        let number = self.deliveries.fetch_add(1, Ordering::Relaxed);
        self.held.lock().insert(number);
        number
    }

    pub(crate) fn settled(&self, number: u64) {
        self.held.lock().remove(&number);
    }
}
