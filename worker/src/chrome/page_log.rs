//! Where what a page prints and throws goes, beside the few messages that the page itself keeps.

use std::sync::{Arc, Mutex, PoisonError};

use hyperfarm_backplane::task_log::TaskLog;
use hyperfarm_proto::log::LogLevel;

#[derive(Debug, Default)]
struct Inner {
    log: Option<TaskLog>,
    frame: Option<u64>,
}

/// A slot's line from its pages to the log of the task at work. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct PageLog(Arc<Mutex<Inner>>);

impl PageLog {
    /// From now on everything goes into `log`; nowhere, for none.
    pub fn follow(&self, log: Option<TaskLog>) {
        *self.inner() = Inner { log, frame: None };
    }

    /// Notes which frame is sought.
    pub fn at(&self, frame: Option<u64>) {
        self.inner().frame = frame;
    }

    /// The page said something.
    pub fn say(&self, level: LogLevel, message: &str) {
        let inner = self.inner();
        if let Some(log) = &inner.log {
            log.page(level, inner.frame, message);
        }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The level of a console call, by DevTools' name of it.
pub fn console_level(kind: &str) -> LogLevel {
    match kind {
        "error" | "assert" => LogLevel::Error,
        "warning" => LogLevel::Warning,
        "debug" | "trace" => LogLevel::Debug,
        _ => LogLevel::Info,
    }
}
