//! Chrome, one browser per slot, under begin-frame control.
//!
//! The browser is started by hand and not by the client library, for the sake of its end: it runs as an unprivileged
//! user with its sandbox on, in a network namespace without a way out and a PID namespace that ends with the worker,
//! within limits of memory and processes, and everything that it writes goes into one folder that is removed with it.

mod config;
mod confinement;
mod devtools;
mod environment;
mod flags;
mod gpu;
mod gpu_search;
mod launch;
mod namespace;
mod network;
mod page;
mod page_log;
mod processes;
mod settings;
mod user;
mod watchdog;

pub use config::{ChromeConfig, LaunchKey};
pub use confinement::{Confinement, Layer, ProcessKind};
pub use gpu::{GlInterface, Gpu, GpuConfig, GpuMode, GpuPart};
pub use launch::Chrome;
pub use namespace::PidNamespace;
pub use network::Network;
pub(crate) use page::shortened;
pub use page::{DrawnFrame, FrameKind, Page, PageEvent};
pub use page_log::PageLog;
pub(crate) use processes::tree as process_tree;
pub use settings::ChromeSettings;
pub use user::ChromeUser;
pub use watchdog::BrowserLimits;
