//! Chrome, one browser per slot, under begin-frame control.
//!
//! The browser is started by hand and not by the client library, for the sake of its end: it runs as an unprivileged
//! user with its sandbox on, in a process group of its own, dies with the worker (parent-death signal), and everything
//! that it writes goes into one folder that is removed with it.

mod config;
mod environment;
mod flags;
mod gpu;
mod gpu_search;
mod launch;
mod page;
mod page_log;
mod settings;
mod user;

pub use config::{ChromeConfig, LaunchKey};
pub use gpu::{GlInterface, Gpu, GpuConfig, GpuMode, GpuPart};
pub use launch::Chrome;
pub use page::{DrawnFrame, Page, PageEvent, Shot};
pub use page_log::PageLog;
pub use settings::ChromeSettings;
pub use user::ChromeUser;
