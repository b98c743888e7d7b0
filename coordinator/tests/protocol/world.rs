//! What the processes of a simulation share: the servers, the faults between them and the processes, and the history.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyperfarm_backplane::broker::{Broker, MemoryBroker};
use hyperfarm_backplane::ledger::MemoryLedger;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::task::Queue;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::judge::Judge;
use crate::plants::Plant;
use crate::system;

/// A server that processes reach over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Ledger,
    Broker,
    Store,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Ledger, Self::Broker, Self::Store];
}

/// How often calls go wrong. The rates are of a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// The request is lost.
    pub refused: u32,
    /// The answer is lost.
    pub unanswered: u32,
    /// The request arrives up to 20 s later, when nobody waits for the answer any more.
    pub late: u32,
    /// Request and answer take up to 3 s.
    pub slow: u32,
    /// A message is delivered twice, or a delivery is not settled because its connection breaks at that moment.
    pub doubled: u32,
    /// Attempts at tasks that fail by themselves.
    pub failures: u32,
}

/// What becomes of a call: each time is from the one before.
pub(crate) enum Fate {
    Answered { arrives: Duration, returns: Duration },
    Refused { after: Duration },
    Unanswered { arrives: Duration, gives_up: Duration },
    Late { arrives: Duration, gives_up: Duration },
}

/// A network between `process`, or every one, and `server` that is cut until a time.
struct Cut {
    server: Server,
    process: Option<String>,
    until: Instant,
}

pub(crate) struct World {
    pub(crate) random: Mutex<fastrand::Rng>,
    pub(crate) store: Arc<InMemory>,
    /// The store without faults.
    pub(crate) objects: Objects,
    pub(crate) broker: MemoryBroker,
    pub(crate) judge: Mutex<Judge>,
    pub(crate) plant: Option<Plant>,
    ledger: Mutex<Arc<MemoryLedger>>,
    weather: Mutex<Weather>,
    cuts: Mutex<Vec<Cut>>,
    history: Mutex<Vec<String>>,
}

/// The queues that carry tasks and hints.
pub(crate) fn queues() -> [Queue; 4] {
    [Queue::Plan(Pool::default()), Queue::Chunk(Pool::default()), Queue::Stitch, Queue::Events]
}

impl World {
    pub(crate) fn new(seed: u64, plant: Option<Plant>) -> Self {
        let store = Arc::new(InMemory::new());
        let objects = Objects::over(store.clone());
        Self {
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            judge: Mutex::new(Judge::new(objects.clone())),
            store,
            objects,
            broker: MemoryBroker::new(),
            plant,
            ledger: Mutex::default(),
            weather: Mutex::default(),
            cuts: Mutex::default(),
            history: Mutex::default(),
        }
    }

    pub(crate) fn ledger(&self) -> Arc<MemoryLedger> {
        self.ledger.lock().clone()
    }

    /// Whether something happens that does so `rate` times in a thousand.
    pub(crate) fn happens(&self, rate: u32) -> bool {
        rate > 0 && self.random.lock().u32(..1000) < rate
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.random.lock().u64(..end)
    }

    pub(crate) fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.lock().u64(range))
    }

    pub(crate) fn note(&self, line: String) {
        let micros = system::elapsed() / 1000;
        self.history.lock().push(format!("{:>5}.{:03} {line}", micros / 1_000_000, micros / 1000 % 1000));
    }

    pub(crate) fn take_history(&self) -> Vec<String> {
        std::mem::take(&mut self.history.lock())
    }

    pub(crate) fn weather(&self) -> Weather {
        *self.weather.lock()
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.note(format!("weather {weather:?}"));
        *self.weather.lock() = weather;
    }

    /// Cuts the network between a server and a process, or every process.
    pub(crate) fn cut(&self, server: Server, process: Option<String>, lasts: Duration) {
        self.note(format!("cut: {server:?} from {} for {lasts:?}", process.as_deref().unwrap_or("everyone")));
        let mut cuts = self.cuts.lock();
        cuts.retain(|cut| cut.until > Instant::now());
        cuts.push(Cut { server, process, until: Instant::now() + lasts });
    }

    /// Ends every cut.
    pub(crate) fn mend(&self) {
        self.cuts.lock().clear();
    }

    pub(crate) fn is_cut(&self, server: Server, process: &str) -> bool {
        let now = Instant::now();
        let meets = |cut: &Cut| cut.process.as_deref().is_none_or(|cut| cut == process);
        self.cuts.lock().iter().any(|cut| cut.server == server && cut.until > now && meets(cut))
    }

    /// What becomes of the next call.
    pub(crate) fn fate(&self, server: Server, process: &str) -> Fate {
        let (weather, is_cut) = (self.weather(), self.is_cut(server, process));
        let mut random = self.random.lock();
        let mut millis = |range| Duration::from_millis(random.u64(range));
        let gives_up = Duration::from_secs(5);
        if is_cut {
            return match millis(0..4).as_millis() {
                0 => Fate::Late { arrives: millis(1000..20_000), gives_up },
                1 => Fate::Refused { after: millis(1..200) },
                _ => Fate::Refused { after: gives_up },
            };
        }
        let mut drawn = random.u32(..1000);
        let mut millis = |range| Duration::from_millis(random.u64(range));
        let mut is = |rate: u32| {
            let is = drawn < rate;
            drawn = drawn.wrapping_sub(rate);
            is
        };
        if is(weather.refused) {
            return Fate::Refused { after: millis(1..5000) };
        }
        if is(weather.unanswered) {
            return Fate::Unanswered { arrives: millis(0..5), gives_up: millis(1..5000) };
        }
        if is(weather.late) {
            return Fate::Late { arrives: millis(1..20_000), gives_up };
        }
        if is(weather.slow) {
            return Fate::Answered { arrives: millis(0..3000), returns: millis(0..2000) };
        }
        Fate::Answered { arrives: millis(0..3), returns: millis(0..3) }
    }

    /// Puts an empty ledger in place of the one there is.
    pub(crate) fn empty_ledger(&self) {
        self.note("the ledger is emptied".to_owned());
        *self.ledger.lock() = Arc::default();
        self.judge.lock().ledger_emptied();
    }

    /// Removes the messages that wait in queues.
    pub(crate) fn purge(&self) {
        self.note("the queues are purged".to_owned());
        let admin = self.broker.connection();
        for queue in queues() {
            while self.depth(&queue) > 0 {
                let Some(Ok(mut consumer)) = admin.consume(&queue).now_or_never() else { return };
                let Some(Some(delivery)) = consumer.next().now_or_never() else { return };
                delivery.ack().now_or_never();
            }
        }
    }

    pub(crate) fn depth(&self, queue: &Queue) -> u64 {
        self.broker.depth(queue).now_or_never().and_then(Result::ok).unwrap_or(0)
    }

    /// Messages that wait in any queue, dead letters among them.
    pub(crate) fn waiting(&self) -> u64 {
        queues().iter().map(|queue| self.depth(queue)).sum::<u64>() + self.depth(&Queue::Dead)
    }
}
