//! The slot's loopback server: the page's origin, and the proxy of its browser.
//!
//! **Invariant: a page reaches the files of its plan and nothing else.** Chrome sends every request to this server, as
//! to a proxy, so a request for any other host, port or scheme arrives here, is refused, and is recorded for the
//! render's warnings.

mod bmp;
mod response;
mod site;
mod slot_server;
mod videos;

pub use crate::assets::OWN_PREFIX;
pub use site::{RequestProblem, Site, SiteFile};
pub(crate) use slot_server::Serving;
pub use slot_server::SlotServer;
