//! Grants: what a process without a credential of the store asks coordinators for, and what they answer.
//!
//! A worker or stitcher says which lease it holds and what it wants to do; a coordinator checks both and answers with
//! URLs that the store itself accepts for a few minutes. The messages are JSON over HTTP, `POST` to [`PATH`].

use std::collections::BTreeMap;
use std::time::Duration;

use hyperfarm_proto::id::{ContentHash, WorkerId};
use hyperfarm_proto::keys;
use hyperfarm_proto::task::TaskId;
use serde::{Deserialize, Serialize};

use super::{Cloud, Objects, ObjectsError};
use crate::ledger::Lease;

mod sign;

/// Path of the route of coordinators, below the URL that `HYPERFARM_STORAGE_URL` names.
pub const PATH: &str = "internal/v1/storage/grants";

/// How long the URLs of a grant are valid.
pub const VALID_FOR: Duration = Duration::from_secs(300);

/// Most wants of one request.
pub const MAX_WANTS: usize = 4096;

/// Bytes of the largest file that is stored by one request, where its key does not name its content.
pub const LARGEST_PUT: u64 = 256 * 1024 * 1024;

/// Bytes of the largest file that can be stored in parts: what S3 takes.
pub const LARGEST_OBJECT: u64 = 5 << 40;

/// What is asked: wants of a task that the asker holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The task; `None` asks whether the coordinator answers and accepts the token, and nothing else.
    pub lease: Option<HeldLease>,
    /// What is to be done.
    pub wants: Vec<Want>,
    /// Whether all files of the render's plan are to be read, beside the wants.
    #[serde(default)]
    pub inputs: bool,
}

/// A lease, as its holder names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLease {
    /// The task.
    pub task: TaskId,
    /// Number of the attempt.
    pub attempt: u32,
    /// The slot that holds it.
    pub worker: WorkerId,
    /// The number that the claim drew.
    pub claim: Option<u64>,
}

impl From<&Lease> for HeldLease {
    fn from(lease: &Lease) -> Self {
        let Lease { task, attempt, worker, grant } = lease.clone();
        Self { task, attempt, worker, claim: grant }
    }
}

impl From<HeldLease> for Lease {
    fn from(HeldLease { task, attempt, worker, claim }: HeldLease) -> Self {
        Self { task, attempt, worker, grant: claim }
    }
}

/// One thing that is to be done in storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Want {
    /// Read an object.
    Get {
        /// Its key.
        key: String,
    },
    /// Read an object's length.
    Head {
        /// Its key.
        key: String,
    },
    /// Store an object.
    Put {
        /// Its key.
        key: String,
        /// Its length; `None` where it is not known yet.
        bytes: Option<u64>,
    },
    /// More URLs of parts of an upload that was begun.
    Parts {
        /// The key.
        key: String,
        /// Length of the whole object.
        bytes: u64,
        /// The upload.
        upload: String,
    },
    /// Join the parts of an upload.
    Complete {
        /// The key.
        key: String,
        /// The upload.
        upload: String,
        /// What the store answered for each part, in order.
        parts: Vec<String>,
    },
    /// Drop the parts of an upload.
    Abort {
        /// The key.
        key: String,
        /// The upload.
        upload: String,
    },
    /// The keys below a folder. The coordinator lists them.
    List {
        /// The folder.
        folder: String,
    },
}

impl Want {
    /// The key or folder that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Get { key }
            | Self::Head { key }
            | Self::Put { key, .. }
            | Self::Parts { key, .. }
            | Self::Complete { key, .. }
            | Self::Abort { key, .. } => key,
            Self::List { folder } => folder,
        }
    }

    /// What it does, as a word for messages.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Head { .. } => "head",
            Self::Put { .. } | Self::Parts { .. } | Self::Complete { .. } | Self::Abort { .. } => "put",
            Self::List { .. } => "list",
        }
    }

    /// The length of what it stores, where it says so.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Put { bytes, .. } => *bytes,
            Self::Parts { bytes, .. } => Some(*bytes),
            _ => None,
        }
    }

    /// Whether it is about a file that is stored in parts.
    pub fn is_in_parts(&self) -> bool {
        match self {
            Self::Put { key, bytes } => {
                bytes.is_some_and(|bytes| bytes > LARGEST_PUT) && content_hash_of(key).is_none()
            }
            Self::Parts { .. } | Self::Complete { .. } | Self::Abort { .. } => true,
            Self::Get { .. } | Self::Head { .. } | Self::List { .. } => false,
        }
    }

    /// Whether it stores something.
    pub fn is_put(&self) -> bool {
        self.operation() == "put"
    }
}

/// What a coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAnswer {
    /// Seconds for which the URLs are valid.
    pub valid_s: u64,
    /// An answer for each want, in order; then the plan's files, if they were asked for.
    pub grants: Vec<Grant>,
}

/// A request to the store that its URL allows. It needs these headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// The URL; one without a host is below the coordinator's own.
    pub url: String,
    /// Headers that have to be sent as they are.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// The answer to one [`Want`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "grant", rename_all = "snake_case")]
pub enum Grant {
    /// The object can be read.
    Get {
        /// Its key.
        key: String,
        /// How.
        request: SignedRequest,
    },
    /// The object's length can be read.
    Head {
        /// Its key.
        key: String,
        /// How.
        request: SignedRequest,
    },
    /// The object can be stored by one request.
    Put {
        /// Its key.
        key: String,
        /// How.
        request: SignedRequest,
    },
    /// The object can be stored in parts.
    Parts {
        /// Its key.
        key: String,
        /// The upload, which a later [`Want`] names.
        upload: String,
        /// Bytes of each part but the last.
        part_bytes: u64,
        /// How to store each part.
        requests: Vec<SignedRequest>,
    },
    /// The coordinator has done what was wanted.
    Done {
        /// The key.
        key: String,
    },
    /// What is below the folder.
    Listed {
        /// Each object with its key and its bytes.
        objects: Vec<(String, u64)>,
    },
}

impl Objects {
    /// Signs what `want` needs for `valid`, or does it where no URL can.
    ///
    /// # Errors
    ///
    /// The store's error; an [`ObjectsError::Store`] with `NotSupported` where the store has no signed URLs, or the file
    /// is larger than they can take.
    pub async fn grant(&self, want: &Want, valid: Duration) -> Result<Grant, ObjectsError> {
        sign::grant(self, want, valid).await
    }

    /// Whether this process holds what opens the whole store. Otherwise it asks coordinators for each task.
    pub fn has_credential(&self) -> bool {
        self.granted.is_none()
    }

    /// The storage of a task: of a process without a credential what the holder of `lease` may touch, else the whole.
    #[must_use]
    pub fn for_task(&self, lease: &Lease) -> Self {
        let Some(granted) = &self.granted else { return self.clone() };
        Self::of_granted(granted.for_task(lease), self.metrics.clone())
    }

    /// Asks for the grants of `wants` by one request, so that what follows needs no other. With a credential nothing is
    /// done.
    ///
    /// # Errors
    ///
    /// A coordinator does not answer, or refuses.
    pub async fn expect(&self, wants: Vec<Want>) -> Result<(), ObjectsError> {
        match &self.granted {
            Some(granted) => granted.expect(wants, false).await,
            None => Ok(()),
        }
    }

    /// As [`Objects::expect`], and the grants of all files of the render's plan too.
    ///
    /// # Errors
    ///
    /// A coordinator does not answer, or refuses.
    pub async fn expect_inputs(&self, wants: Vec<Want>) -> Result<(), ObjectsError> {
        match &self.granted {
            Some(granted) => granted.expect(wants, true).await,
            None => Ok(()),
        }
    }
}

/// The hash of the content that a key names, of a blob or a segment.
pub fn content_hash_of(key: &str) -> Option<ContentHash> {
    if let Some(hash) = key.strip_prefix("blobs/") {
        return hash.parse().ok();
    }
    keys::parse_segment(key)?;
    let (_, name) = key.rsplit_once('/')?;
    let (_, hash) = name.split_once('-')?;
    hash.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::id::RenderId;
    use hyperfarm_proto::spec::Format;

    use super::*;

    #[test]
    fn keys_that_name_their_content_are_known() {
        let (render, hash): (RenderId, _) = ("r1".parse().unwrap(), ContentHash::of(b"x"));
        let segment = keys::segment(&render, 3, 1, &hash, Format::Mp4);
        assert_eq!(content_hash_of(&keys::blob(&hash)), Some(hash));
        assert_eq!(content_hash_of(&segment), Some(hash));
        for other in [keys::segment_record(&segment), keys::plan(&render), "blobs/x".to_owned()] {
            assert_eq!(content_hash_of(&other), None, "{other}");
        }
    }
}
