//! Newtype ids. Clones share their text.

use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An id was not of the form its type allows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{value}` is not a valid {kind}, expected {expected}")]
pub struct IdError {
    kind: &'static str,
    expected: &'static str,
    value: String,
}

/// Characters that are safe in an object key, a Redis key, a queue payload and a URL path alike.
fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(inline)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(value: String) -> Result<Self, IdError> {
                if value.is_empty() || value.len() > 64 || !value.chars().all(is_id_char) {
                    return Err(IdError {
                        kind: $kind,
                        expected: "1 to 64 letters, digits, '-' or '_'",
                        value,
                    });
                }
                Ok(Self(value.into()))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(value: &str) -> Result<Self, IdError> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }
    };
}

text_id!(
    /// One render. Made by the coordinator at intake; sorts by creation time.
    RenderId,
    "render id"
);
text_id!(
    /// One worker or stitcher process slot, unique for the life of its process.
    WorkerId,
    "worker id"
);
text_id!(
    /// A named set of workers that share queues, for example `cpu`.
    Pool,
    "pool name"
);

text_id!(
    /// A tenant: renders, assets and webhooks belong to one, and one sees nothing of another's.
    Space,
    "space name"
);

impl Default for Space {
    fn default() -> Self {
        Self("default".into())
    }
}

impl RenderId {
    /// An id from a creation time and 64 random bits: later renders sort after earlier ones.
    pub fn from_parts(unix_millis: u64, random: u64) -> Self {
        Self(format!("r{unix_millis:012x}{random:016x}").into())
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self("cpu".into())
    }
}

/// Bytes that [`ContentHash::of_reader`] reads at once.
const READ_BYTES: usize = 256 * 1024;

/// A SHA-256 of content, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of everything that `reader` yields, and how many bytes that is. No more than a buffer of it is held.
    ///
    /// # Errors
    ///
    /// The first error of the reader.
    pub fn of_reader(mut reader: impl Read) -> std::io::Result<(Self, u64)> {
        let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((Self(hasher.finalize().into()), bytes)),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    bytes += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A hash that was computed piece by piece.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The first twelve digits, for logs and names that people read.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = IdError;

    fn from_str(value: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(value, &mut bytes).map_err(|_| IdError {
            kind: "content hash",
            expected: "64 hexadecimal digits",
            value: value.to_owned(),
        })?;
        Ok(Self(bytes))
    }
}

/// A 128-bit hash of one captured frame: its size and its pixels, before any encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameHash([u8; 16]);

impl FrameHash {
    /// A hash computed by the capture.
    pub fn from_u128(value: u128) -> Self {
        Self(value.to_be_bytes())
    }
}

impl fmt::Display for FrameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for FrameHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FrameHash {
    type Err = IdError;

    fn from_str(value: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(value, &mut bytes).map_err(|_| IdError {
            kind: "frame hash",
            expected: "32 hexadecimal digits",
            value: value.to_owned(),
        })?;
        Ok(Self(bytes))
    }
}

/// Hashes are text in JSON, where people read them, and plain bytes on the wire.
macro_rules! hash_serde {
    ($name:ident, $len:literal) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

hash_serde!(ContentHash, 32);
hash_serde!(FrameHash, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_escape_a_key() {
        for bad in ["", "a/b", "..", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<RenderId>().is_err(), "{bad:?} must be refused");
        }
        assert_eq!("r-1_a".parse::<RenderId>().unwrap().as_str(), "r-1_a");
    }

    #[test]
    fn later_renders_sort_after_earlier_ones() {
        let earlier = RenderId::from_parts(1_700_000_000_000, u64::MAX);
        let later = RenderId::from_parts(1_700_000_000_001, 0);
        assert!(earlier < later);
    }

    #[test]
    fn a_long_content_is_hashed_by_the_buffer() {
        struct Counting<'a>(&'a [u8], usize);
        impl Read for Counting<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                self.1 = self.1.max(buffer.len());
                self.0.read(buffer)
            }
        }
        let content = vec![7; 3 * READ_BYTES + 1];
        let mut reader = Counting(&content, 0);
        assert_eq!(ContentHash::of_reader(&mut reader).unwrap(), (ContentHash::of(&content), content.len() as u64));
        assert_eq!(reader.1, READ_BYTES, "the most bytes held at once");
        assert_eq!(ContentHash::of_reader(&b""[..]).unwrap(), (ContentHash::of(b""), 0));
    }

    #[test]
    fn hashes_are_text_in_json() {
        let hash = ContentHash::of(b"");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json, "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"");
        assert_eq!(serde_json::from_str::<ContentHash>(&json).unwrap(), hash);
        assert!("e3".parse::<ContentHash>().is_err());
    }
}
