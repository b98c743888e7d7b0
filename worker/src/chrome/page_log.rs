//! The log of what a page prints and throws: it goes to the log of the task that the slot works on.

use std::sync::Arc;

use hyperfarm_backplane::task_log::TaskLog;
use hyperfarm_proto::log::LogLevel;
use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Inner {
    log: Option<TaskLog>,
    frame: Option<u64>,
}

/// The log of a slot's pages. Clones share one target.
#[derive(Debug, Clone, Default)]
pub struct PageLog(Arc<Mutex<Inner>>);

impl PageLog {
    /// Writes to `log` from now on; without one, messages are dropped.
    pub fn set_target(&self, log: Option<TaskLog>) {
        *self.0.lock() = Inner { log, frame: None };
    }

    /// Sets the frame that later messages carry.
    pub fn set_frame(&self, frame: Option<u64>) {
        self.0.lock().frame = frame;
    }

    /// Writes a message of the page.
    pub fn write(&self, level: LogLevel, message: &str) {
        let inner = self.0.lock();
        if let Some(log) = &inner.log {
            log.page(level, inner.frame, message);
        }
    }
}

/// The level of a console call, by its type in the DevTools protocol.
pub(super) fn console_level(kind: &str) -> LogLevel {
    match kind {
        "error" | "assert" => LogLevel::Error,
        "warning" => LogLevel::Warning,
        "debug" | "trace" => LogLevel::Debug,
        _ => LogLevel::Info,
    }
}
