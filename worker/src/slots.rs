//! The slots of a worker.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::spec::{Size, Viewport};
use tokio::sync::{Mutex, MutexGuard};

use crate::chrome::{ChromeConfig, Confinement, PageLog};
use crate::error::WorkerError;
use crate::expected_page::ExpectedPage;
use crate::slot::Slot;

/// How long a slot's browser is kept for another task of the render whose pages it has shown.
const BROWSER_LIFETIME: Duration = Duration::from_secs(1);

/// The slots of a worker. In each of them one task works at a time.
pub(crate) struct Slots {
    slots: Vec<Mutex<Slot>>,
    /// Logs of the slots' pages, by slot.
    page_logs: Vec<PageLog>,
    confinements: Vec<Arc<OnceLock<Confinement>>>,
}

impl Slots {
    /// As many slots as `count` says, without browsers.
    pub(crate) async fn new(config: &ChromeConfig, count: u32) -> Result<Self, WorkerError> {
        let mut slots = Vec::new();
        for _ in 0..count {
            slots.push(Slot::new(config.clone()).await?);
        }
        Ok(Self {
            page_logs: slots.iter().map(Slot::log).collect(),
            confinements: slots.iter().map(Slot::confinement).collect(),
            slots: slots.into_iter().map(Mutex::new).collect(),
        })
    }

    /// Their number.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Locks the slot of this number for a task of `render`.
    pub(crate) async fn assign(&self, number: u32, render: &RenderId) -> Result<MutexGuard<'_, Slot>, WorkerError> {
        let slot = self.slots.get(number as usize);
        let slot = slot.ok_or_else(|| WorkerError::Inconsistent(format!("the worker has no slot {number}")))?;
        let mut slot = slot.lock().await;
        slot.assign(render).await?;
        Ok(slot)
    }

    /// The log of the pages of the slot of this number.
    pub(crate) fn page_log(&self, number: u32) -> Option<&PageLog> {
        self.page_logs.get(number as usize)
    }

    /// How the browsers of the slots were confined, each once it was measured.
    pub(crate) fn confinements(&self) -> Vec<Arc<OnceLock<Confinement>>> {
        self.confinements.clone()
    }

    /// Starts the browsers that a render of `page` needs in slots without a task, beside what is done before the page is
    /// opened. `planner` is the slot that plans the render, and begins with its browser; where it is not known yet, browsers
    /// are started only if every slot needs one.
    pub(crate) fn prepare(self: &Arc<Self>, planner: Option<u32>, page: ExpectedPage) {
        let browsers = page.browsers();
        if planner.is_none() && browsers < self.slots.len() {
            return;
        }
        let planner = planner.map(|number| number as usize);
        let others = (0..self.slots.len()).filter(|number| Some(*number) != planner);
        for number in planner.into_iter().chain(others).take(browsers) {
            let slots = self.clone();
            tokio::spawn(async move {
                // A slot with a task starts its browser by itself.
                let Some(Ok(mut slot)) = slots.slots.get(number).map(Mutex::try_lock) else { return };
                prepare(&mut slot, page).await;
            });
        }
    }

    /// Ends the browser of a slot after its task, unless another task gets the slot soon. Where no slot works, a new
    /// browser is started in its place, so that the next render need not wait for it.
    pub(crate) fn clear_when_idle(self: Arc<Self>, number: u32) {
        // A task that ends with its runtime leaves nothing to wait for: the slots end as well.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let Some(mutex) = self.slots.get(number as usize) else { return };
            // A slot that is locked has its next task.
            let Some(tasks) = mutex.try_lock().ok().map(|slot| slot.tasks()) else { return };
            tokio::time::sleep(BROWSER_LIFETIME).await;
            let Ok(mut slot) = mutex.try_lock() else { return };
            if slot.tasks() != tasks {
                return;
            }
            let viewport = slot.clear().await;
            let mut others = self.slots.iter().enumerate().filter(|(other, _)| *other != number as usize);
            if let Some(viewport) = viewport
                && others.all(|(_, other)| other.try_lock().is_ok())
            {
                prepare(&mut slot, ExpectedPage { viewport, transparent: false, seconds: None }).await;
            }
        });
    }

    /// Starts a browser in the first slot, unless a task has it, and ends it when its confinement was measured.
    pub(crate) async fn measure_confinement(&self) {
        let Some(Ok(mut slot)) = self.slots.first().map(Mutex::try_lock) else { return };
        let viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };
        if let Err(error) = slot.prepare(ExpectedPage { viewport, transparent: true, seconds: None }).await {
            tracing::error!(%error, "no browser could be started to measure its confinement");
        }
        slot.close().await;
    }

    /// Ends the browsers of the slots without a task, in the background.
    pub(crate) fn close_idle(self: &Arc<Self>) {
        for number in 0..self.slots.len() {
            let slots = self.clone();
            tokio::spawn(async move {
                let Some(Ok(mut slot)) = slots.slots.get(number).map(Mutex::try_lock) else { return };
                slot.close().await;
            });
        }
    }

    /// Ends the browsers of all slots, each once its task has ended.
    pub(crate) async fn close(&self) {
        futures::future::join_all(self.slots.iter().map(async |slot| slot.lock().await.close().await)).await;
    }
}

/// Starts a browser for `page` in `slot`. An error is logged only: the task that needs the browser starts it again.
async fn prepare(slot: &mut Slot, page: ExpectedPage) {
    if let Err(error) = slot.prepare(page).await {
        tracing::debug!(%error, "no browser was started in advance");
        slot.close().await;
    }
}
