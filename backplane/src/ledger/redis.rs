//! The ledger over Redis, 5 and later.
//!
//! Every operation is one call of one script (`redis.lua`, `nodes.lua`), so it is atomic, takes one round trip, and
//! uses Redis's own clock. A render is one hash, `{prefix}:render:{{id}}`, with a sorted set of its tasks by their last
//! writes, `{prefix}:writes:{{id}}`. The braces keep both on one node of a cluster. They vanish a week after the last
//! write. The leader is in `{prefix}:{scheduler}:leader`, the places
//! of quotas in `{prefix}:{quotas}:places:{quota}`, by `coordination.lua`. Nodes are in `{prefix}:{nodes}:alive`,
//! `:said` and `:wishes`.
//!
//! A lost connection is made again, where Sentinels or a cluster say then (`redis/servers.rs`); an operation is tried again for a few
//! seconds, and answered then with [`LedgerError::Unreachable`]. A repeated operation changes nothing that the first
//! one changed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_proto::failure::{FailedAttempt, Failure};
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Step, TaskId};
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, ServerErrorKind};
use tokio::time::{Instant, timeout_at};

use super::history::Attempts;
use super::memory::{oldest_within, unix_ms};
use super::{
    Claim, Commit, Held, Leader, Lease, Ledger, LedgerError, NodeCommand, NodeView, Quota, RenderView, Renewal,
    Reserved, RunningAttempt, ViewSince, node_of_slot,
};
use crate::metrics::{Metrics, Server};
use crate::redact::redact;
use crate::retry::{RetryPolicy, Retryable};

pub(crate) mod servers;

use servers::{Connection, Reopened, Servers};

/// Longest time for an operation, retries included.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for one attempt. A script takes far less than a millisecond.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How an operation is repeated while Redis does not answer.
const RETRY: RetryPolicy = RetryPolicy::new(Duration::from_millis(20), Duration::from_millis(500));

/// How long [`RedisLedger::connect`] waits for a Redis that is still starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an entry lives after the last write to it.
const ENTRY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The ledger over Redis. See the [ledger module](super) for the promises.
pub struct RedisLedger {
    url: String,
    prefix: String,
    connection: Connection,
    renders: Script,
    nodes: Script,
    coordination: Script,
    /// Whether the last attempt failed for want of a connection.
    is_lost: AtomicBool,
    metrics: OnceLock<Metrics>,
}

impl RedisLedger {
    /// Connects to what `url` [names](servers). A server that is still starting is waited for, up to half a minute.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unreachable`], at once where the server refuses the password.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, LedgerError> {
        let unreachable = |reason: String| LedgerError::Unreachable { url: redact(url), reason };
        let servers = Servers::parse(url).map_err(unreachable)?;
        let connection = servers.connect(ATTEMPT_TIMEOUT).map_err(|error| unreachable(error.to_string()))?;
        let ledger = Self {
            url: redact(url),
            prefix: prefix.to_owned(),
            connection,
            renders: Script::new(concat!(include_str!("common.lua"), include_str!("redis.lua"))),
            nodes: Script::new(include_str!("nodes.lua")),
            coordination: Script::new(concat!(include_str!("common.lua"), include_str!("coordination.lua"))),
            is_lost: AtomicBool::new(false),
            metrics: OnceLock::new(),
        };
        ledger.ping(CONNECT_TIMEOUT).await?;
        Ok(ledger)
    }

    /// Makes it count reconnects.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        // Set once; a second call changes nothing.
        let _ = self.metrics.set(metrics.clone());
        self
    }

    async fn ping(&self, within: Duration) -> Result<(), LedgerError> {
        self.attempt::<String>(within, "PING", Operation::Command(&redis::cmd("PING"))).await.map(drop)
    }

    fn render_key(&self, render: &RenderId) -> String {
        format!("{}:render:{{{render}}}", self.prefix)
    }

    fn writes_key(&self, render: &RenderId) -> String {
        format!("{}:writes:{{{render}}}", self.prefix)
    }

    /// The script on a render, with its first arguments.
    fn on_render(&self, operation: &str, render: &RenderId) -> ScriptInvocation<'_> {
        let mut call = self.renders.key(self.render_key(render));
        call.key(self.writes_key(render));
        call.arg(operation).arg(ENTRY_LIFETIME.as_millis() as u64);
        call
    }

    fn on_task(&self, operation: &str, task: &TaskId) -> ScriptInvocation<'_> {
        let mut call = self.on_render(operation, &task.render);
        call.arg(task.step.to_string());
        call
    }

    fn on_lease(&self, operation: &str, lease: &Lease) -> ScriptInvocation<'_> {
        let mut call = self.on_task(operation, &lease.task);
        call.arg(lease.attempt).arg(lease.worker.as_str());
        call
    }

    fn on_nodes(&self, operation: &str) -> ScriptInvocation<'_> {
        let mut call = self.nodes.key(format!("{}:{{nodes}}:alive", self.prefix));
        call.key(format!("{}:{{nodes}}:said", self.prefix)).key(format!("{}:{{nodes}}:wishes", self.prefix));
        call.arg(operation).arg(ENTRY_LIFETIME.as_millis() as u64);
        call
    }

    fn on_leader(&self, operation: &str) -> ScriptInvocation<'_> {
        let mut call = self.coordination.key(format!("{}:{{scheduler}}:leader", self.prefix));
        call.arg(operation).arg(ENTRY_LIFETIME.as_millis() as u64);
        call
    }

    fn on_quota(&self, operation: &str, group: &str, quota: &str) -> ScriptInvocation<'_> {
        let mut call = self.coordination.key(format!("{}:{{quotas}}:counted", self.prefix));
        call.key(format!("{}:{{quotas}}:places:{quota}", self.prefix));
        call.arg(operation).arg(ENTRY_LIFETIME.as_millis() as u64).arg(group);
        call
    }

    async fn invoke<T: FromRedisValue>(&self, key: &str, call: &ScriptInvocation<'_>) -> Result<T, LedgerError> {
        self.attempt(OPERATION_TIMEOUT, key, Operation::Script(call)).await
    }

    async fn answer(&self, render: &RenderId, call: &ScriptInvocation<'_>) -> Result<String, LedgerError> {
        self.invoke(&self.render_key(render), call).await
    }

    /// Repeats the operation until it is answered, refused for good, or `within` is over.
    async fn attempt<T: FromRedisValue>(
        &self,
        within: Duration,
        key: &str,
        operation: Operation<'_>,
    ) -> Result<T, LedgerError> {
        let deadline = Instant::now() + within;
        let attempt = || async {
            match timeout_at(deadline, operation.run(&self.connection)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) if operation.is_script() && is_corrupt(&error) => {
                    let (key, reason) = (key.to_owned(), error.to_string());
                    Err(AttemptError::Final(LedgerError::Corrupt { key, reason }))
                }
                Ok(Err(error)) if !is_transient(&error) => Err(AttemptError::Final(self.unreachable(error))),
                Ok(Err(error)) => Err(self.lost(&error)),
                Err(_) => Err(self.lost(format_args!("no answer within {within:?}"))),
            }
        };
        let attempts = attempt.retry(RETRY.within(within));
        match attempts.when(|error| matches!(error, AttemptError::Transient(_))).await {
            Ok(value) => {
                self.mark_connected();
                Ok(value)
            }
            Err(AttemptError::Final(error) | AttemptError::Transient(error)) => Err(error),
        }
    }

    /// Logs the first failure of a series.
    fn lost(&self, reason: impl Display) -> AttemptError {
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            tracing::warn!(url = self.url, %reason, "the ledger does not answer");
        }
        AttemptError::Transient(self.unreachable(reason))
    }

    fn mark_connected(&self) {
        if self.is_lost.swap(false, Ordering::Relaxed) {
            tracing::info!(url = self.url, "the ledger answers again");
            if let Some(metrics) = self.metrics.get() {
                metrics.reconnected(Server::Ledger);
            }
        }
    }

    fn unreachable(&self, reason: impl Display) -> LedgerError {
        LedgerError::Unreachable { url: self.url.clone(), reason: reason.to_string() }
    }

    fn corrupt(&self, render: &RenderId, reason: impl Display) -> LedgerError {
        LedgerError::Corrupt { key: self.render_key(render), reason: reason.to_string() }
    }

    /// Claims the task, unless a slot of `node` has failed it or holds it.
    async fn claim_unless(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        node: Option<&str>,
        ttl: Duration,
    ) -> Result<Claim, LedgerError> {
        let mut call = self.on_task("claim", task);
        let grant = fastrand::u64(..);
        call.arg(worker.as_str()).arg(millis(ttl)).arg(number(grant));
        if let Some(node) = node {
            call.arg(node);
        }
        let answer = self.answer(&task.render, &call).await?;
        let attempt = match answer.as_str() {
            "held" => return Ok(Claim::Held),
            "committed" => return Ok(Claim::Committed),
            "cancelled" => return Ok(Claim::Cancelled),
            "unknown" => return Ok(Claim::Unknown),
            other => {
                if let Some(workers) = other.strip_prefix("elsewhere ") {
                    return Ok(Claim::Elsewhere { workers: workers.split(' ').map(str::to_owned).collect() });
                }
                other.strip_prefix("granted ").and_then(|attempt| attempt.parse().ok())
            }
        };
        let attempt =
            attempt.ok_or_else(|| self.corrupt(&task.render, format_args!("the script answered `{answer}`")))?;
        Ok(Claim::Granted(Lease { task: task.clone(), attempt, worker: worker.clone(), grant: Some(grant) }))
    }

    async fn commit_answer(&self, render: &RenderId, call: &ScriptInvocation<'_>) -> Result<Commit, LedgerError> {
        match self.answer(render, call).await?.as_str() {
            "accepted" => Ok(Commit::Accepted),
            "duplicate" => Ok(Commit::Duplicate),
            "stale" => Ok(Commit::Stale),
            "unknown" => Ok(Commit::Unknown),
            other => Err(self.corrupt(render, format_args!("the script answered `{other}`"))),
        }
    }
}

/// Why one attempt at an operation failed.
enum AttemptError {
    /// Another attempt would fail as well.
    Final(LedgerError),
    /// Another attempt may succeed.
    Transient(LedgerError),
}

/// A request to Redis.
#[derive(Clone, Copy)]
enum Operation<'a> {
    Script(&'a ScriptInvocation<'a>),
    Command(&'a Cmd),
}

impl Operation<'_> {
    async fn run<T: FromRedisValue>(self, connection: &Connection) -> RedisResult<T> {
        match connection {
            Connection::One(connection) => self.ask(connection.clone()).await,
            Connection::Sentinel(connection) => self.ask_reopened(connection).await,
            Connection::Cluster(connection) => self.ask_reopened(connection).await,
        }
    }

    async fn ask<T: FromRedisValue>(self, mut connection: impl ConnectionLike + Send) -> RedisResult<T> {
        match self {
            Self::Script(call) => call.invoke_async(&mut connection).await,
            Self::Command(command) => command.query_async(&mut connection).await,
        }
    }

    async fn ask_reopened<T, C>(self, reopened: &Reopened<C>) -> RedisResult<T>
    where
        T: FromRedisValue,
        C: ConnectionLike + Clone + Send,
    {
        let (connection, number) = reopened.get().await?;
        let answer = self.ask(connection).await;
        if answer.as_ref().is_err_and(is_transient) {
            reopened.lose(number).await;
        }
        answer
    }

    fn is_script(self) -> bool {
        matches!(self, Self::Script(_))
    }
}

/// Whether a retry may help. It does not against wrong credentials or a command that the server forbids.
fn is_transient(error: &RedisError) -> bool {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.is_unrecoverable_error() {
        return error.kind() != ErrorKind::AuthenticationFailed;
    }
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::NoScript
        ),
        _ => false,
    }
}

/// Something else than the ledger's own is under the key.
fn is_corrupt(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ResponseError)
    ) || error.code() == Some("WRONGTYPE")
}

/// A number that a call draws, so that asking again is told from asking twice.
fn number(drawn: u64) -> String {
    format!("{drawn:016x}")
}

/// The number of a lease's claim; empty where it is not known.
fn grant(lease: &Lease) -> String {
    lease.grant.map(number).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(ENTRY_LIFETIME.as_millis() as u64)
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn open(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.answer(render, &self.on_render("open", render)).await.map(drop)
    }

    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        self.claim_unless(task, worker, None, ttl).await
    }

    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        self.claim_unless(task, worker, Some(node_of_slot(worker.as_str())), ttl).await
    }

    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Result<Renewal, LedgerError> {
        let mut call = self.on_lease("renew", lease);
        call.arg(progress.done).arg(progress.total).arg(millis(ttl)).arg(grant(lease));
        match self.answer(&lease.task.render, &call).await?.as_str() {
            "renewed" => Ok(Renewal::Renewed),
            "lost" => Ok(Renewal::Lost),
            "unknown" => Ok(Renewal::Unknown),
            other => Err(self.corrupt(&lease.task.render, format_args!("the script answered `{other}`"))),
        }
    }

    async fn is_held(&self, lease: &Lease) -> Result<Held, LedgerError> {
        let mut call = self.on_lease("held", lease);
        call.arg(grant(lease));
        match self.answer(&lease.task.render, &call).await?.as_str() {
            "yes" => Ok(Held::Yes),
            "no" => Ok(Held::No),
            "unknown" => Ok(Held::Unknown),
            other => Err(self.corrupt(&lease.task.render, format_args!("the script answered `{other}`"))),
        }
    }

    async fn commit(&self, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError> {
        let mut call = self.on_lease("commit", lease);
        call.arg(number(fastrand::u64(..))).arg(result);
        self.commit_answer(&lease.task.render, &call).await
    }

    async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError> {
        let worker = lease.worker.to_string();
        let attempt = FailedAttempt { attempt: lease.attempt, worker, failure: failure.clone() };
        let json = serde_json::to_string(&attempt).map_err(|error| self.corrupt(&lease.task.render, error))?;
        let mut call = self.on_lease("fail", lease);
        call.arg(json).arg(grant(lease));
        self.commit_answer(&lease.task.render, &call).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        let mut call = self.on_lease("release", lease);
        call.arg(grant(lease));
        self.answer(&lease.task.render, &call).await.map(drop)
    }

    async fn speculate(&self, task: &TaskId, attempt: u32) -> Result<bool, LedgerError> {
        let mut call = self.on_task("speculate", task);
        call.arg(attempt);
        Ok(self.answer(&task.render, &call).await? == "yes")
    }

    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Result<(), LedgerError> {
        let mut call = self.on_task("restore", task);
        call.arg(attempt).arg(result);
        self.answer(&task.render, &call).await.map(drop)
    }

    async fn reopen(&self, task: &TaskId) -> Result<(), LedgerError> {
        self.answer(&task.render, &self.on_task("reopen", task)).await.map(drop)
    }

    async fn view(&self, render: &RenderId) -> Result<Option<RenderView>, LedgerError> {
        match self.view_since(render, None, None).await? {
            ViewSince::Changed { view, .. } => Ok(Some(view)),
            ViewSince::Unknown | ViewSince::Unchanged => Ok(None),
        }
    }

    async fn view_since(
        &self,
        render: &RenderId,
        term: Option<u64>,
        revision: Option<u64>,
    ) -> Result<ViewSince, LedgerError> {
        let mut call = self.on_render("view", render);
        // Terms and revisions are above 0.
        call.arg(term.unwrap_or(0)).arg(revision.unwrap_or(0));
        let (now, newest, found, is_whole, fields): (u64, u64, u64, bool, HashMap<String, Vec<u8>>) =
            self.invoke(&self.render_key(render), &call).await?;
        if let Some(term) = term.filter(|term| newest > *term) {
            return Err(LedgerError::Superseded { term, newest });
        }
        let found = (found > 0).then_some(found);
        if fields.is_empty() {
            return Ok(if found.is_some() { ViewSince::Unchanged } else { ViewSince::Unknown });
        }
        let view = read_render(now, fields).map_err(|reason| self.corrupt(render, reason))?;
        Ok(ViewSince::Changed { revision: found, is_whole, view })
    }

    async fn set_paused(&self, render: &RenderId, paused: bool) -> Result<bool, LedgerError> {
        let operation = if paused { "pause" } else { "resume" };
        Ok(self.answer(render, &self.on_render(operation, render)).await? != "unknown")
    }

    async fn cancel(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.answer(render, &self.on_render("cancel", render)).await.map(drop)
    }

    async fn forget(&self, render: &RenderId) -> Result<(), LedgerError> {
        let key = self.render_key(render);
        let delete = redis::cmd("UNLINK").arg(&key).arg(self.writes_key(render)).take();
        self.attempt::<u64>(OPERATION_TIMEOUT, &key, Operation::Command(&delete)).await.map(drop)
    }

    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<Option<NodeCommand>, LedgerError> {
        let json = serde_json::to_string(node).map_err(|error| self.unreachable(error))?;
        let mut call = self.on_nodes("heartbeat");
        call.arg(node.id.as_str()).arg(millis(ttl)).arg(json);
        let answer: Vec<String> = self.invoke("nodes", &call).await?;
        let Some(json) = answer.first().filter(|json| !json.is_empty()) else { return Ok(None) };
        match serde_json::from_str(json) {
            Ok(command) => Ok(Some(command)),
            Err(error) => {
                // A newer coordinator sent it.
                tracing::warn!(%error, json, "a command that this version does not know is ignored");
                Ok(None)
            }
        }
    }

    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> Result<bool, LedgerError> {
        let json = serde_json::to_string(command).map_err(|error| self.unreachable(error))?;
        let mut call = self.on_nodes("command");
        call.arg(node.as_str()).arg(json);
        Ok(!self.invoke::<Vec<String>>("nodes", &call).await?.is_empty())
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, LedgerError> {
        let reports: Vec<String> = self.invoke("nodes", &self.on_nodes("nodes")).await?;
        let read = |json: &String| match serde_json::from_str::<NodeView>(json) {
            Ok(node) => Some(node),
            Err(error) => {
                // It comes from a node of another version; the others are still listed.
                tracing::warn!(%error, json, "a node's report cannot be read by this version, the node is left out");
                None
            }
        };
        let mut nodes: Vec<NodeView> = reports.iter().filter_map(read).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> Result<Leader, LedgerError> {
        let mut call = self.on_leader("lead");
        call.arg(candidate).arg(seen_term).arg(millis(ttl));
        let (id, term) = self.invoke("leader", &call).await?;
        Ok(Leader { id, term })
    }

    async fn resign(&self, id: &str) -> Result<(), LedgerError> {
        let mut call = self.on_leader("resign");
        call.arg(id);
        self.invoke::<Vec<String>>("leader", &call).await.map(drop)
    }

    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> Result<Reserved, LedgerError> {
        let oldest = quota.window.map(|window| oldest_within(window, unix_ms()).to_string());
        let mut call = self.on_quota("reserve", &quota.group, &quota.name);
        call.arg(quota.limit).arg(oldest.unwrap_or_default());
        for render in renders {
            call.arg(render.as_str());
        }
        let answer: Vec<String> = self.invoke(&quota.name, &call).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["granted"] => Ok(Reserved::Granted),
            ["uncounted"] => Ok(Reserved::Uncounted),
            ["full", taken, oldest] => {
                Ok(Reserved::Full { taken: taken.parse().unwrap_or(0), oldest: oldest.parse().ok() })
            }
            _ => {
                let reason = format!("the script answered {answer:?}");
                Err(LedgerError::Corrupt { key: quota.name.clone(), reason })
            }
        }
    }

    async fn free(&self, quota: &str, renders: &[RenderId]) -> Result<(), LedgerError> {
        let mut call = self.on_quota("free", "", quota);
        for render in renders {
            call.arg(render.as_str());
        }
        self.invoke::<Vec<String>>(quota, &call).await.map(drop)
    }

    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> Result<(), LedgerError> {
        for (quota, renders) in places {
            // A script takes a few thousand arguments.
            for renders in renders.chunks(1000) {
                let mut call = self.on_quota("fill", group, quota);
                for render in renders {
                    call.arg(render.as_str());
                }
                self.invoke::<Vec<String>>(quota, &call).await?;
            }
        }
        self.invoke::<Vec<String>>(group, &self.on_quota("counted", group, "")).await.map(drop)
    }

    async fn check(&self) -> Result<(), LedgerError> {
        self.ping(OPERATION_TIMEOUT).await
    }
}

fn read_render(now: u64, fields: HashMap<String, Vec<u8>>) -> Result<RenderView, String> {
    let (cancelled, paused) = (fields.contains_key("cancelled"), fields.contains_key("paused"));
    let mut view = RenderView { cancelled, paused, ..RenderView::default() };
    let mut holders: BTreeMap<Step, (Holder, Option<Holder>)> = BTreeMap::new();
    for (field, value) in fields {
        if matches!(field.as_str(), "open" | "cancelled" | "paused" | "term" | "revision") {
            continue;
        }
        let (step, part) = field.split_once(':').unwrap_or((&field, ""));
        let step = step.parse::<Step>().map_err(|error| error.to_string())?;
        let task = view.tasks.entry(step).or_default();
        let holder = || read_holder(&value).ok_or_else(|| format!("{field} is no attempt"));
        match part {
            "" => holders.entry(step).or_default().0 = holder()?,
            "older" => holders.entry(step).or_default().1 = Some(holder()?),
            "result" => task.committed = Some(value),
            "failures" => task.failures = read_failures(&value)?,
            "log" => task.attempts = read_attempts(&value).ok_or_else(|| format!("{field} is no log"))?,
            _ => {}
        }
    }
    for (step, (newest, older)) in holders {
        let task = view.tasks.entry(step).or_default();
        (task.attempt, task.progress) = (newest.attempt, newest.progress);
        for holder in std::iter::once(newest).chain(older).filter(|holder| holder.until > now) {
            if holder.progress.done > task.progress.done {
                task.progress = holder.progress;
            }
            let worker: WorkerId = holder.worker.parse().map_err(|_| format!("{} is no worker", holder.worker))?;
            let left = Duration::from_millis(holder.until - now);
            task.lease.get_or_insert_with(|| (worker.clone(), left));
            let claimed = task.attempts.iter().rev().find(|claimed| claimed.attempt == holder.attempt);
            let age = Duration::from_millis(claimed.map_or(0, |claimed| now.saturating_sub(claimed.claimed_at_ms)));
            task.running.push(RunningAttempt { attempt: holder.attempt, worker, age, left });
        }
    }
    Ok(view)
}

/// An attempt as `redis.lua` writes it.
#[derive(Default)]
struct Holder {
    attempt: u32,
    until: u64,
    progress: TaskProgress,
    worker: String,
}

/// `attempt until done total worker`, as `redis.lua` writes it.
fn read_holder(value: &[u8]) -> Option<Holder> {
    let mut words = std::str::from_utf8(value).ok()?.split(' ');
    let (attempt, until) = (parsed(words.next())?, parsed(words.next())?);
    let progress = TaskProgress { done: parsed(words.next())?, total: parsed(words.next())? };
    Some(Holder { attempt, until, progress, worker: words.next()?.to_owned() })
}

fn parsed<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

fn read_attempts(value: &[u8]) -> Option<Vec<super::AttemptView>> {
    Some(Attempts::read(std::str::from_utf8(value).ok()?)?.0)
}

fn read_failures(value: &[u8]) -> Result<Vec<FailedAttempt>, String> {
    let lines = value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| error.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HashMap<String, Vec<u8>> {
        pairs.iter().map(|(field, value)| ((*field).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_hash_reads_as_a_render() {
        let failure = r#"{"attempt":1,"worker":"w","failure":{"code":"STORAGE","message":"a\nb"}}"#;
        let view = read_render(
            1_000,
            fields(&[
                ("open", "1"),
                ("chunk-3", "2 1500 7 18446744073709551615 w-2"),
                ("chunk-3:failures", &format!("{failure}\n")),
                ("chunk-3:older", "1 1200 9 9 w-1"),
                ("chunk-3:log", "claimed 1 100 w-1\nclaimed 2 900 w-2\n"),
                ("plan", "1 0 0 0 ."),
                ("plan:result", "x"),
            ]),
        )
        .unwrap();
        let chunk = &view.tasks[&Step::Chunk(3)];
        assert_eq!(chunk.lease, Some(("w-2".parse().unwrap(), Duration::from_millis(500))));
        assert_eq!((chunk.attempt, chunk.progress.done, chunk.failures.len()), (2, 9, 1));
        let running: Vec<_> = chunk.running.iter().map(|running| (running.attempt, running.age.as_millis())).collect();
        assert_eq!(running, [(2, 100), (1, 900)]);
        assert_eq!((view.tasks[&Step::Plan].committed.as_deref(), view.cancelled), (Some(&b"x"[..]), false));
    }

    #[test]
    fn what_is_not_ours_is_named() {
        for (field, value) in
            [("chunk-x", "1 0 0 0 ."), ("plan", "x"), ("plan", "1 0 0 0"), ("plan:failures", "{"), ("plan:log", "x")]
        {
            assert!(read_render(0, fields(&[(field, value)])).is_err(), "{field} {value}");
        }
    }
}
