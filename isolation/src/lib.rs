//! Child processes without rights: what users send is parsed and decoded there.
//!
//! A child is this program again, started with a command word ([`ConfinedProcess::start`]). It has no environment and
//! no open files but its socket and one file that its parent gives it. It enters its part with [`enter`], opens what it
//! was ordered to open, and then gives up its rights with [`confine`]: from then on it opens no files, has no network,
//! and starts neither threads nor programs; its memory and processor time are limited. Parent and child exchange
//! messages over the socket. The child ends when the parent drops its [`ConfinedProcess`], or ends itself.
//!
//! | what | where |
//! | --- | --- |
//! | starts a child, waits for its messages, ends it, says why it ended | `process` |
//! | what a child does first | `child` |
//! | limits and the system calls that are allowed | `confinement` |
//! | a network namespace for a program that is not ours | `network` |
//! | messages and streams of bytes | [`messages`] |

mod child;
mod confinement;
pub mod messages;
mod network;
mod process;

pub use child::enter;
pub use confinement::{ProcessLimits, confine, refuse_administration};
pub use network::{NETWORK_COMMAND, NETWORK_PORT, NetworkSockets, serve_network};
pub use process::{ConfinedProcess, EndOnDrop, Ended, LIBRARY_PATH, Messages};
