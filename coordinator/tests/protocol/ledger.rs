//! The ledger as a process reaches it. The judge sees each operation at the moment at which the ledger does it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_backplane::ledger::{
    Claim, Commit, Held, Leader, Lease, Ledger, LedgerError, NodeCommand, NodeView, Quota, RenderView, Renewal,
    Reserved, ViewSince,
};
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::TaskId;

use crate::plants;
use crate::process::Process;
use crate::world::{Server, World};

pub(crate) struct FaultyLedger {
    pub(crate) process: Arc<Process>,
}

type Answer<T> = Result<T, LedgerError>;

impl FaultyLedger {
    async fn ask<T, F>(&self, what: String, work: impl FnOnce(Arc<World>) -> F + Send + 'static) -> Answer<T>
    where
        T: std::fmt::Debug + Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let (process, operation) = (self.process.clone(), what.clone());
        let work = async move {
            let answer = work(process.world.clone()).await;
            if let Ok(answer) = &answer {
                process.note(&format!("{operation} -> {answer:?}"));
            }
            answer
        };
        let lost = |reason: &str| LedgerError::Unreachable { url: "simulated".to_owned(), reason: reason.to_owned() };
        self.process.call(Server::Ledger, &what, work, lost).await
    }

    /// The same for an answer that is long, or is asked for often: the history does not have it.
    async fn read<T, F>(&self, what: &str, work: impl FnOnce(Arc<World>) -> F + Send + 'static) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let lost = |reason: &str| LedgerError::Unreachable { url: "simulated".to_owned(), reason: reason.to_owned() };
        self.process.call(Server::Ledger, what, work(self.process.world.clone()), lost).await
    }

    async fn claim_by(&self, task: &TaskId, worker: &WorkerId, ttl: Duration, elsewhere: bool) -> Answer<Claim> {
        let (name, task, worker) = (self.process.name.clone(), task.clone(), worker.clone());
        let work = move |world: Arc<World>| async move {
            let ledger = world.ledger();
            let claim = match elsewhere {
                true => ledger.claim_elsewhere(&task, &worker, ttl).await?,
                false => ledger.claim(&task, &worker, ttl).await?,
            };
            if let Claim::Granted(lease) = &claim {
                world.judge.lock().claimed(&name, lease, ttl);
            }
            Ok(claim)
        };
        self.ask("claim".to_owned(), work).await
    }
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn open(&self, render: &RenderId) -> Answer<()> {
        let render = render.clone();
        self.ask(format!("open {render}"), |world| async move { world.ledger().open(&render).await }).await
    }
    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Answer<Claim> {
        self.claim_by(task, worker, ttl, false).await
    }
    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Answer<Claim> {
        self.claim_by(task, worker, ttl, true).await
    }
    async fn is_held(&self, lease: &Lease) -> Answer<Held> {
        let lease = lease.clone();
        let what = format!("held {} attempt {}", lease.task, lease.attempt);
        let work = move |world: Arc<World>| async move { world.ledger().is_held(&lease).await };
        self.ask(what, work).await
    }
    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Answer<Renewal> {
        let lease = lease.clone();
        let what = format!("renew {} attempt {}", lease.task, lease.attempt);
        let work = move |world: Arc<World>| async move {
            let renewal = world.ledger().renew(&lease, progress, ttl).await?;
            world.judge.lock().renewed(&lease, renewal, ttl);
            Ok(renewal)
        };
        self.ask(what, work).await
    }
    async fn commit(&self, lease: &Lease, result: &[u8]) -> Answer<Commit> {
        let (lease, result) = (lease.clone(), result.to_vec());
        let what = format!("commit {} attempt {}", lease.task, lease.attempt);
        let work = move |world: Arc<World>| async move {
            let commit = plants::commit(&world, &lease, &result).await?;
            world.judge.lock().committed(&lease, commit, &result);
            Ok(commit)
        };
        self.ask(what, work).await
    }
    async fn fail(&self, lease: &Lease, failure: &Failure) -> Answer<Commit> {
        let (lease, failure) = (lease.clone(), failure.clone());
        let what = format!("fail {} attempt {} {}", lease.task, lease.attempt, failure.code);
        let work = move |world: Arc<World>| async move {
            let answer = world.ledger().fail(&lease, &failure).await?;
            world.judge.lock().failed(&lease, answer);
            Ok(answer)
        };
        self.ask(what, work).await
    }
    async fn release(&self, lease: &Lease) -> Answer<()> {
        let lease = lease.clone();
        let what = format!("release {} attempt {}", lease.task, lease.attempt);
        let work = move |world: Arc<World>| async move {
            world.ledger().release(&lease).await?;
            world.judge.lock().released(&lease);
            Ok(())
        };
        self.ask(what, work).await
    }
    async fn speculate(&self, task: &TaskId, attempt: u32) -> Answer<bool> {
        let task = task.clone();
        let work = move |world: Arc<World>| async move {
            let may = world.ledger().speculate(&task, attempt).await?;
            if may {
                world.judge.lock().speculated(&task, attempt);
            }
            Ok(may)
        };
        self.ask("speculate".to_owned(), work).await
    }
    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Answer<()> {
        let (task, result) = (task.clone(), result.to_vec());
        let what = format!("restore {task} attempt {attempt}");
        let work = move |world: Arc<World>| async move {
            world.ledger().restore(&task, attempt, &result).await?;
            world.judge.lock().restored(&task, attempt, &result);
            Ok(())
        };
        self.ask(what, work).await
    }
    async fn reopen(&self, task: &TaskId) -> Answer<()> {
        let task = task.clone();
        let work = move |world: Arc<World>| async move {
            world.ledger().reopen(&task).await?;
            world.judge.lock().reopened(&task);
            Ok(())
        };
        self.ask("reopen".to_owned(), work).await
    }
    async fn view(&self, render: &RenderId) -> Answer<Option<RenderView>> {
        let render = render.clone();
        self.read("view", |world| async move { world.ledger().view(&render).await }).await
    }
    async fn view_since(&self, render: &RenderId, term: Option<u64>, revision: Option<u64>) -> Answer<ViewSince> {
        let render = render.clone();
        self.read("view_since", move |world| async move { plants::view_since(&world, &render, term, revision).await })
            .await
    }
    async fn set_paused(&self, render: &RenderId, paused: bool) -> Answer<bool> {
        let render = render.clone();
        let what = format!("set_paused {render} {paused}");
        self.ask(what, move |world| async move { world.ledger().set_paused(&render, paused).await }).await
    }
    async fn cancel(&self, render: &RenderId) -> Answer<()> {
        let render = render.clone();
        let what = format!("cancel {render}");
        let work = move |world: Arc<World>| async move {
            world.ledger().cancel(&render).await?;
            world.judge.lock().cancelled(&render);
            Ok(())
        };
        self.ask(what, work).await
    }
    async fn forget(&self, render: &RenderId) -> Answer<()> {
        let render = render.clone();
        let what = format!("forget {render}");
        let work = move |world: Arc<World>| async move {
            world.ledger().forget(&render).await?;
            world.judge.lock().forgotten(&render);
            Ok(())
        };
        self.ask(what, work).await
    }
    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Answer<Option<NodeCommand>> {
        let node = node.clone();
        self.read("heartbeat", move |world| async move { world.ledger().heartbeat(&node, ttl).await }).await
    }
    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> Answer<bool> {
        let (node, command) = (node.clone(), command.clone());
        self.read("send_command", |world| async move { world.ledger().send_command(&node, &command).await }).await
    }
    async fn nodes(&self) -> Answer<Vec<NodeView>> {
        self.read("nodes", |world| async move { world.ledger().nodes().await }).await
    }
    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> Answer<Leader> {
        let candidate = candidate.to_owned();
        self.read("lead", move |world| async move { world.ledger().lead(&candidate, seen_term, ttl).await }).await
    }
    async fn resign(&self, id: &str) -> Answer<()> {
        let id = id.to_owned();
        self.read("resign", |world| async move { world.ledger().resign(&id).await }).await
    }
    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> Answer<Reserved> {
        let (quota, renders) = (quota.clone(), renders.to_vec());
        self.read("reserve", |world| async move { world.ledger().reserve(&quota, &renders).await }).await
    }
    async fn free(&self, quota: &str, renders: &[RenderId]) -> Answer<()> {
        let (quota, renders) = (quota.to_owned(), renders.to_vec());
        self.read("free", |world| async move { world.ledger().free(&quota, &renders).await }).await
    }
    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> Answer<()> {
        let (group, places) = (group.to_owned(), places.to_vec());
        self.read("fill", |world| async move { world.ledger().fill(&group, &places).await }).await
    }
    async fn check(&self) -> Answer<()> {
        self.read("check", |world| async move { world.ledger().check().await }).await
    }
}
