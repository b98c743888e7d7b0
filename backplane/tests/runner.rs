//! The runner's promises, over the in-process backplane.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Claim, Commit, Lease, Ledger, NodeCommand, NodeState, NodeView, Order, TaskView};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::record::unix_ms;
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire::{self, Wire};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(5);

/// What a handler does with its next task.
#[derive(Clone, Copy)]
enum Script {
    Finish,
    Fail(FailureCode),
    Panic,
    UntilCancelled,
    /// Fails after another node has begun the task as well and committed it.
    FailAfterAnother,
}

struct Handler {
    script: Script,
    ledger: Arc<dyn Ledger>,
    started: AtomicU32,
    cancelled: AtomicU32,
    steps: Mutex<Vec<Step>>,
}

#[async_trait]
impl TaskHandler for Handler {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        self.started.fetch_add(1, Ordering::SeqCst);
        self.steps.lock().unwrap().push(lease.task.step);
        context.set_progress(3, 10);
        match self.script {
            Script::Finish => Ok(b"result".to_vec()),
            Script::Fail(code) => Err(Failure::new(code, "as asked")),
            Script::Panic => panic!("on purpose"),
            Script::UntilCancelled => {
                context.cancelled().cancelled().await;
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                Err(Failure::new(FailureCode::Drained, "stopped"))
            }
            Script::FailAfterAnother => {
                let (ledger, other) = (&self.ledger, "w2-s0".parse().unwrap());
                assert!(ledger.speculate(&lease.task, lease.attempt).await.unwrap());
                let claim = ledger.claim_elsewhere(&lease.task, &other, SOON).await.unwrap();
                let Claim::Granted(second) = claim else { panic!("{claim:?}") };
                assert_eq!(ledger.commit(&second, b"the other's").await.unwrap(), Commit::Accepted);
                Err(Failure::new(FailureCode::ChromeCrashed, "too late"))
            }
        }
    }
}

struct Node {
    backplane: Backplane,
    handler: Arc<Handler>,
    drain: Drain,
    running: JoinHandle<()>,
    render: RenderId,
}

impl Node {
    async fn start(script: Script, slots: u32) -> Self {
        let backplane = Backplane::ephemeral(Objects::memory());
        let render: RenderId = "r1".parse().unwrap();
        backplane.ledger.open(&render).await.unwrap();
        let node = Self {
            handler: Arc::new(Handler {
                script,
                ledger: backplane.ledger.clone(),
                started: AtomicU32::default(),
                cancelled: AtomicU32::default(),
                steps: Mutex::default(),
            }),
            drain: Drain::new(),
            running: tokio::spawn(async {}),
            backplane,
            render,
        };
        node.publish(Step::Chunk(1)).await;
        let config = RunnerConfig {
            lease_ttl: Duration::from_millis(200),
            report_every: Duration::from_millis(10),
            grace: Duration::from_millis(50),
            pause: Duration::from_millis(20),
            node_ttl: Duration::from_millis(900),
            cool_down: Duration::from_millis(400),
            ..RunnerConfig::default()
        };
        let view = NodeView::new("w1".parse().unwrap(), "worker", "cpu", slots, "test");
        let queues = vec![Queue::Plan(Pool::default()), Queue::Chunk(Pool::default())];
        let runner = Runner::new(node.backplane.clone(), view, config);
        let running = tokio::spawn(runner.run(queues, node.handler.clone(), node.drain.clone()));
        Self { running, ..node }
    }

    fn task(&self, step: Step) -> TaskId {
        TaskId { render: self.render.clone(), step }
    }

    async fn publish(&self, step: Step) {
        self.publish_task(self.task(step)).await;
    }

    async fn publish_task(&self, task: TaskId) {
        let pool = Pool::default();
        let queue = Queue::of(task.step, &pool);
        let message = wire::encode(&TaskMessage { task, pool }).unwrap();
        self.backplane.broker.publish(&queue, message.into()).await.unwrap();
    }

    async fn view(&self, step: Step) -> TaskView {
        let view = self.backplane.ledger.view(&self.render).await.unwrap().unwrap();
        view.tasks.get(&step).cloned().unwrap_or_default()
    }

    async fn until(&self, step: Step, test: impl Fn(&TaskView) -> bool) -> TaskView {
        let wait = async {
            loop {
                let view = self.view(step).await;
                if test(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("it never came")
    }

    /// What the node says of itself, once it satisfies `test`.
    async fn says(&self, test: impl Fn(&NodeView) -> bool) -> NodeView {
        let wait = async {
            loop {
                let nodes = self.backplane.ledger.nodes().await.unwrap();
                if let Some(node) = nodes.into_iter().find(|node| node.id.as_str() == "w1" && test(node)) {
                    return node;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("it never said so")
    }

    async fn wish(&self, order: Order) {
        assert!(self.backplane.ledger.send_command(&"w1".parse().unwrap(), &NodeCommand::new(order)).await.unwrap());
    }

    async fn waiting(&self) -> u64 {
        self.backplane.broker.depth(&Queue::Chunk(Pool::default())).await.unwrap()
    }

    async fn event(&self) -> Event {
        let mut events = self.backplane.broker.consume(&Queue::Events).await.unwrap();
        let delivery = tokio::time::timeout(SOON, events.next()).await.expect("no event").unwrap();
        let event = wire::decode(&delivery.payload).unwrap();
        delivery.ack().await;
        event
    }

    async fn stop(self) -> Backplane {
        self.drain.start();
        tokio::time::timeout(SOON, self.running).await.expect("it never stopped").unwrap();
        self.backplane
    }
}

#[tokio::test]
async fn a_task_is_committed_announced_and_acknowledged() {
    let node = Node::start(Script::Finish, 1).await;
    let step = Step::Chunk(1);
    assert_eq!(node.until(step, |task| task.committed.is_some()).await.committed.unwrap(), b"result");
    assert_eq!(node.event().await, Event { task: node.task(step), kind: EventKind::Committed });
    node.publish(step).await;
    node.publish(Step::Chunk(2)).await;
    node.until(Step::Chunk(2), |task| task.committed.is_some()).await;
    assert_eq!(node.handler.started.load(Ordering::SeqCst), 2, "a double is dropped");
    assert!(node.backplane.metrics.encode().contains("hyperfarm_tasks_total{"));
    let backplane = node.stop().await;
    assert_eq!(backplane.broker.depth(&Queue::Chunk(Pool::default())).await.unwrap(), 0);
}

#[tokio::test]
async fn a_failure_and_a_panic_are_recorded_and_announced() {
    for (script, code) in
        [(Script::Fail(FailureCode::ScriptError), FailureCode::ScriptError), (Script::Panic, FailureCode::Internal)]
    {
        let node = Node::start(script, 1).await;
        let view = node.until(Step::Chunk(1), |task| !task.failures.is_empty()).await;
        assert_eq!(view.failures[0].failure.code, code);
        assert_eq!(view.failures[0].worker, "w1-s0");
        assert_eq!(node.event().await.kind, EventKind::Failed);
        node.stop().await;
    }
}

#[tokio::test]
async fn the_failure_of_a_task_that_another_node_has_committed_counts_against_nobody() {
    let node = Node::start(Script::FailAfterAnother, 1).await;
    node.until(Step::Chunk(1), |task| task.committed.is_some()).await;
    // When the second task is taken, the first one has ended in every respect.
    node.publish(Step::Chunk(2)).await;
    let second = node.until(Step::Chunk(2), |task| task.committed.is_some()).await;
    assert_eq!((second.failures.len(), node.view(Step::Chunk(1)).await.failures.len()), (0, 0));
    let now_ms = unix_ms() as u64;
    let view = node.says(|node| node.said_at_ms > now_ms).await;
    assert_eq!((view.failures_recent, view.state), (0, NodeState::Active));
    node.stop().await;
}

#[tokio::test]
async fn a_lease_is_kept_with_progress_and_a_lost_one_stops_the_work() {
    let node = Node::start(Script::UntilCancelled, 1).await;
    node.until(Step::Chunk(1), |task| task.progress.done == 3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Renewed beyond its first time, which is over.
    node.until(Step::Chunk(1), |task| task.lease.is_some()).await;
    node.backplane.ledger.cancel(&node.render).await.unwrap();
    let stopped = async {
        while node.handler.cancelled.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, stopped).await.expect("it went on");
    // Once the node has stopped, everything that it had to say about the task is in the ledger.
    let backplane = node.stop().await;
    let view = backplane.ledger.view(&"r1".parse().unwrap()).await.unwrap().unwrap();
    let task = &view.tasks[&Step::Chunk(1)];
    assert!(task.committed.is_none() && task.failures.is_empty(), "nothing is said about lost work");
    assert!(backplane.metrics.encode().contains("outcome=\"superseded\""), "{}", backplane.metrics.encode());
}

#[tokio::test]
async fn a_drain_hands_back_what_does_not_end_in_time() {
    let node = Node::start(Script::UntilCancelled, 1).await;
    node.until(Step::Chunk(1), |task| task.lease.is_some()).await;
    let backplane = node.stop().await;
    assert_eq!(backplane.broker.depth(&Queue::Chunk(Pool::default())).await.unwrap(), 1, "put back");
    let view = backplane.ledger.view(&"r1".parse().unwrap()).await.unwrap().unwrap();
    let task = &view.tasks[&Step::Chunk(1)];
    assert!(task.lease.is_none() && task.failures.is_empty() && task.committed.is_none());
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_dead_or_left_for_newer_nodes() {
    let node = Node::start(Script::Finish, 1).await;
    let queue = Queue::Chunk(Pool::default());
    node.backplane.broker.publish(&queue, Bytes::from_static(&[TaskMessage::VERSION, 1, 2])).await.unwrap();
    let mut dead = node.backplane.broker.consume(&Queue::Dead).await.unwrap();
    let letter = tokio::time::timeout(SOON, dead.next()).await.expect("no dead letter").unwrap();
    assert_eq!(&letter.payload[..], [TaskMessage::VERSION, 1, 2]);
    letter.ack().await;
    let newer = [TaskMessage::VERSION + 1, 0];
    node.backplane.broker.publish(&queue, Bytes::copy_from_slice(&newer)).await.unwrap();
    let taken = async {
        while node.waiting().await != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, taken).await.expect("the node never took it");
    let backplane = node.stop().await;
    let mut waiting = backplane.broker.consume(&queue).await.unwrap();
    let left = tokio::time::timeout(SOON, waiting.next()).await.expect("the node did not put it back").unwrap();
    assert_eq!((&left.payload[..], left.returned > 0), (&newer[..], true));
}

#[tokio::test]
async fn queues_take_turns_and_the_first_begins() {
    let node = Node::start(Script::Finish, 0).await;
    for step in [Step::Chunk(2), Step::Plan, Step::Chunk(3)] {
        node.publish(step).await;
    }
    let (backplane, handler, drain) = (node.backplane.clone(), node.handler.clone(), Drain::new());
    let view = NodeView::new("w2".parse().unwrap(), "worker", "cpu", 1, "test");
    let queues = vec![Queue::Plan(Pool::default()), Queue::Chunk(Pool::default())];
    let runner = Runner::new(backplane, view, RunnerConfig::default());
    let running = tokio::spawn(runner.run(queues, handler, drain.clone()));
    node.until(Step::Chunk(3), |task| task.committed.is_some()).await;
    let steps = node.handler.steps.lock().unwrap().clone();
    assert_eq!(steps, [Step::Plan, Step::Chunk(1), Step::Chunk(2), Step::Chunk(3)]);
    let nodes = node.backplane.ledger.nodes().await.unwrap();
    assert!(nodes.iter().any(|node| node.id.as_str() == "w2" && node.slots == 1));
    drain.start();
    running.await.unwrap();
}

#[tokio::test]
async fn a_node_says_what_it_is_at() {
    let node = Node::start(Script::UntilCancelled, 2).await;
    let said = node.says(|node| node.tasks.first().is_some_and(|task| task.done == 3)).await;
    let task = &said.tasks[0];
    assert_eq!((task.step, task.attempt, task.total, said.slots, said.all_slots()), (Step::Chunk(1), 1, 10, 2, 2));
    assert!(said.started_at_ms > 0 && said.said_at_ms >= said.started_at_ms && said.memory_bytes > 0);
    node.stop().await;
}

#[tokio::test]
async fn a_quarantined_node_finishes_and_takes_nothing_until_it_is_resumed() {
    let node = Node::start(Script::Finish, 2).await;
    node.until(Step::Chunk(1), |task| task.committed.is_some()).await;
    node.says(|node| node.tasks.is_empty()).await;
    node.wish(Order::Quarantine { reason: "new disk".to_owned() }).await;
    let said = node.says(|node| node.state == NodeState::Quarantined).await;
    assert_eq!((said.slots, said.all_slots(), said.reason.as_deref()), (0, 2, Some("new disk")));
    node.publish(Step::Chunk(2)).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(node.waiting().await, 1, "longer than an automatic quarantine lasts");
    node.wish(Order::Resume).await;
    node.until(Step::Chunk(2), |task| task.committed.is_some()).await;
    node.says(|node| node.state == NodeState::Active && node.slots == 2).await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_is_asked_to_drain_finishes_without_end_and_stops() {
    let node = Node::start(Script::UntilCancelled, 1).await;
    node.says(|node| !node.tasks.is_empty()).await;
    node.wish(Order::Drain).await;
    node.says(|node| node.state == NodeState::Draining).await;
    node.publish(Step::Chunk(2)).await;
    // Four times the grace of a process that is told to stop.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(node.handler.cancelled.load(Ordering::SeqCst), 0);
    node.backplane.ledger.cancel(&node.render).await.unwrap();
    tokio::time::timeout(SOON, node.running).await.expect("it never stopped").unwrap();
    assert_eq!(node.backplane.broker.depth(&Queue::Chunk(Pool::default())).await.unwrap(), 1);
}

#[tokio::test]
async fn a_node_that_only_fails_rests_if_others_are_there() {
    let node = Node::start(Script::Fail(FailureCode::ChromeCrashed), 1).await;
    let ledger = &node.backplane.ledger;
    let task = |number: u32| TaskId { render: format!("r{number}").parse().unwrap(), step: Step::Chunk(1) };
    for number in 2..=6 {
        ledger.open(&task(number).render).await.unwrap();
    }
    let failures = async |number| {
        let view = ledger.view(&task(number).render).await.unwrap().unwrap();
        view.tasks.get(&Step::Chunk(1)).map_or(0, |task| task.failures.len())
    };
    let failed = async |number| {
        let wait = async {
            while failures(number).await == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("it never failed");
    };
    for number in 2..=4 {
        node.publish_task(task(number)).await;
    }
    // Alone it goes on.
    failed(4).await;
    let peer = NodeView::new("w2".parse().unwrap(), "worker", "cpu", 1, "test");
    ledger.heartbeat(&peer, Duration::from_secs(60)).await.unwrap();
    node.publish_task(task(5)).await;
    node.publish_task(task(6)).await;
    let said = node.says(|node| node.state == NodeState::Quarantined).await;
    assert!(said.reason.unwrap().contains("CHROME_CRASHED"));
    assert_eq!(said.failures_recent, 5);
    assert_eq!(failures(6).await, 0, "it took a task while it rested");
    failed(6).await;
    node.stop().await;
}
