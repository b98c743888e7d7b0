//! The wire codec: one version byte, then bincode.
//!
//! bincode is unmaintained (RUSTSEC-2025-0141). It is one of the project's fixed parts, at version 2, whose format is
//! specified and frozen; only this module touches it, so that another codec behind another version byte is a change of
//! one file.
//!
//! Messages cross process and version boundaries: decoding never panics and never allocates beyond its limit, whatever
//! the bytes; a version this build does not know is an error that says so, and the message stays for a node that does.
//!
//! Every type has a version of its own ([`Wire::VERSION`]), which is raised with its layout: a release that changes the
//! plan still understands the tasks and events of the one before it, so that both can run side by side during an
//! upgrade.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that is sent or stored in the wire format.
pub trait Wire: Serialize + DeserializeOwned {
    /// Version of the layout that this build writes and reads. Raised when the type, or a type in it, gets other
    /// fields; `proto/tests/wire.rs` holds the bytes, so that none changes unnoticed.
    const VERSION: u8;
}

/// Longest message, in bytes. Plans of ten-hour renders and thousands of files stay well below.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Variable-length integers would be smaller; fixed ones make the golden bytes of the tests readable.
fn config() -> Configuration<LittleEndian, Fixint, Limit<MAX_BYTES>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<MAX_BYTES>()
}

/// Why bytes could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// There are no bytes.
    #[error("the message is empty")]
    Empty,
    /// The message was written by another version of the farm.
    #[error("it has wire version {found}, this build ({}) reads version {reads}: {}", crate::FARM_VERSION, remedy(*found, *reads))]
    Version {
        /// The version byte.
        found: u8,
        /// The version that this build reads.
        reads: u8,
    },
    /// The message is longer than [`MAX_BYTES`].
    #[error("the message has {0} bytes, more than the {MAX_BYTES} that are allowed")]
    TooLong(usize),
    /// The value cannot be written.
    #[error("the message cannot be encoded")]
    Encode(#[source] EncodeError),
    /// The bytes are not a value of the type.
    #[error("the message cannot be decoded")]
    Decode(#[source] DecodeError),
    /// The message goes on after the value.
    #[error("the message has {0} bytes too many")]
    Trailing(usize),
}

fn remedy(found: u8, reads: u8) -> &'static str {
    if found > reads { "upgrade this node" } else { "upgrade the node that wrote it" }
}

/// Encodes `value`.
///
/// # Errors
///
/// [`WireError::TooLong`] for more than [`MAX_BYTES`], [`WireError::Encode`] for a value that cannot be written.
pub fn encode<T: Wire>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![T::VERSION];
    bincode::serde::encode_into_std_write(value, &mut bytes, config()).map_err(WireError::Encode)?;
    if bytes.len() > MAX_BYTES {
        return Err(WireError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// Decodes the value that all of `bytes` hold.
///
/// # Errors
///
/// [`WireError::Version`] for a message of another version, and another variant for bytes that are not exactly one such
/// value.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let (&version, body) = bytes.split_first().ok_or(WireError::Empty)?;
    if version != T::VERSION {
        return Err(WireError::Version { found: version, reads: T::VERSION });
    }
    if bytes.len() > MAX_BYTES {
        return Err(WireError::TooLong(bytes.len()));
    }
    let (value, read) = bincode::serde::decode_from_slice(body, config()).map_err(WireError::Decode)?;
    if read != body.len() {
        return Err(WireError::Trailing(body.len() - read));
    }
    Ok(value)
}
