//! Failures of renders: each has a code with an owner and a retry rule, and a message.
//!
//! **Invariant: every failure is the user's or the farm's.** A user's failure is not retried: the same input fails the
//! same way. Where a busy machine may have had part in it there is one more attempt. A failure of the farm is retried
//! on other workers a bounded number of times; a task that still fails goes to the dead-letter queue with its history.
//! An outage of storage, ledger or broker is nobody's attempt: the task is retried until the server answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::Wire;

/// Who has to act on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The person who wrote the composition or the request.
    User,
    /// The people who run the farm.
    System,
}

/// Whether the farm tries a failed task again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryRule {
    /// Not again: the same input fails again.
    Never,
    /// One more attempt, on a fresh browser or another worker: two failures of this rule in all.
    Once,
    /// Another attempt, on another worker where there is one, at most [`MAX_ATTEMPTS`] in all.
    Elsewhere,
    /// Another attempt, without a limit: the failure was not the task's.
    Freely,
}

/// Attempts that may fail before a task goes to the dead-letter queue.
pub const MAX_ATTEMPTS: usize = 4;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $owner:ident, $rule:ident;)*) => {
        /// Every way in which a render can fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl FailureCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable text of the code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who has to act on it.
            pub fn owner(self) -> Owner {
                match self { $(Self::$name => Owner::$owner,)* }
            }

            /// Whether the farm tries the task again.
            pub fn retry(self) -> RetryRule {
                match self { $(Self::$name => RetryRule::$rule,)* }
            }
        }
    };
}

codes! {
    /// The archive cannot be read, or breaks a limit.
    ProjectInvalid = "PROJECT_INVALID", User, Never;
    /// There is no entry page.
    EntryNotFound = "ENTRY_NOT_FOUND", User, Never;
    /// A nested composition is missing or empty.
    CompositionNotFound = "COMPOSITION_NOT_FOUND", User, Never;
    /// Neither the page nor its media have a duration.
    DurationMissing = "DURATION_MISSING", User, Never;
    /// The duration is zero, negative, not a number or above the farm's limit.
    DurationInvalid = "DURATION_INVALID", User, Never;
    /// The size cannot be drawn, or has another shape than the requested one.
    SizeInvalid = "SIZE_INVALID", User, Never;
    /// The frame rate is none.
    FrameRateInvalid = "FRAME_RATE_INVALID", User, Never;
    /// The variables are no JSON object, or (in strict mode) undeclared or mistyped.
    VariablesInvalid = "VARIABLES_INVALID", User, Never;
    /// A script of the page threw before the page was ready, or during a seek.
    ScriptError = "SCRIPT_ERROR", User, Never;
    /// A composition declares a timeline and registers none.
    TimelineMissing = "TIMELINE_MISSING", User, Never;
    /// The page did not become ready.
    PageNotReady = "PAGE_NOT_READY", User, Never;
    /// An audio or video source cannot be decoded.
    MediaInvalid = "MEDIA_INVALID", User, Never;
    /// The user cancelled or deleted the render.
    Cancelled = "CANCELLED", User, Never;
    /// There is no Chrome at the configured path.
    ChromeMissing = "CHROME_MISSING", System, Elsewhere;
    /// Chrome did not start.
    ChromeLaunch = "CHROME_LAUNCH", System, Elsewhere;
    /// Chrome or its page crashed during a task.
    ChromeCrashed = "CHROME_CRASHED", System, Elsewhere;
    /// No frame was captured for longer than the stall deadline.
    CaptureStalled = "CAPTURE_STALLED", System, Elsewhere;
    /// The encoder, the decoder or the muxer failed.
    EncodeFailed = "ENCODE_FAILED", System, Elsewhere;
    /// A segment, the sound or the output has not the frames or samples that it must have.
    VerifyFailed = "VERIFY_FAILED", System, Elsewhere;
    /// Object storage did not answer, or refused. The task waits for it.
    Storage = "STORAGE", System, Freely;
    /// The broker or the ledger did not answer. The task waits for it.
    Backplane = "BACKPLANE", System, Freely;
    /// The worker is of another capture class than the plan.
    VersionMismatch = "VERSION_MISMATCH", System, Freely;
    /// The worker was told to stop.
    Drained = "DRAINED", System, Freely;
    /// Any other failure of the farm.
    Internal = "INTERNAL", System, Elsewhere;
    /// The project is nested deeper, has more elements or takes longer to compile than the farm allows. Last, because
    /// stored histories number the codes.
    ProjectTooComplex = "PROJECT_TOO_COMPLEX", User, Never;
    /// The page does not answer while the browser around it does: it loops, or waits for what never comes.
    PageUnresponsive = "PAGE_UNRESPONSIVE", User, Once;
    /// The page's own process ended while the browser around it went on: it needs more memory than a slot has, or broke
    /// it.
    PageCrashed = "PAGE_CRASHED", User, Once;
    /// The local disk of the node, or its quota, is full.
    DiskFull = "DISK_FULL", System, Elsewhere;
    /// The node has as many files open as the system allows.
    TooManyOpenFiles = "TOO_MANY_OPEN_FILES", System, Elsewhere;
    /// An object that the task needs is not in storage, or is damaged.
    ObjectMissing = "OBJECT_MISSING", System, Elsewhere;
    /// The process that had the task ended without a word, or was cut off for longer than its lease. A task that loses
    /// two processes is not tried again: it may be what ended them.
    WorkerLost = "WORKER_LOST", System, Once;
    /// The version of the HyperFrames runtime that was asked for is not there.
    RuntimeMissing = "RUNTIME_MISSING", User, Never;
}

impl FailureCode {
    /// Whether a server of the farm did not answer, so that neither the task nor the page has a part in it.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::Storage | Self::Backplane)
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Failure {
    /// The kind of failure.
    pub code: FailureCode,
    /// What went wrong and what to do, in one or two sentences for the owner.
    pub message: String,
}

impl Failure {
    /// A failure of `code` with its sentence.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A failed attempt in a task's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The attempt's number.
    pub attempt: u32,
    /// Id of the worker.
    pub worker: String,
    /// The failure.
    pub failure: Failure,
}

impl Wire for FailedAttempt {
    const VERSION: u8 = 1;
}

/// Whether a task with this history may be tried again.
pub fn may_retry(history: &[FailedAttempt]) -> bool {
    let Some(last) = history.last() else { return true };
    let counted = |rule| history.iter().filter(|attempt| attempt.failure.code.retry() == rule).count();
    match last.failure.code.retry() {
        RetryRule::Never => false,
        RetryRule::Freely => true,
        RetryRule::Once => counted(RetryRule::Once) < 2,
        RetryRule::Elsewhere => counted(RetryRule::Elsewhere) < MAX_ATTEMPTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(attempt: u32, code: FailureCode) -> FailedAttempt {
        FailedAttempt { attempt, worker: "w".to_owned(), failure: Failure::new(code, "x") }
    }

    #[test]
    fn users_failures_are_never_retried() {
        let may_be_the_machines = [FailureCode::PageUnresponsive, FailureCode::PageCrashed];
        let users = FailureCode::ALL.iter().filter(|code| code.owner() == Owner::User);
        for code in users.filter(|code| !may_be_the_machines.contains(code)) {
            assert_eq!(code.retry(), RetryRule::Never, "{code}");
            assert!(!may_retry(&[failed(1, *code)]));
        }
    }

    #[test]
    fn a_page_that_does_not_answer_or_crashes_gets_one_more_attempt() {
        for code in [FailureCode::PageUnresponsive, FailureCode::PageCrashed] {
            assert_eq!((code.owner(), code.retry()), (Owner::User, RetryRule::Once));
            assert!(may_retry(&[failed(1, code)]));
            assert!(may_retry(&[failed(1, FailureCode::Drained), failed(2, code)]));
            assert!(!may_retry(&[failed(1, FailureCode::PageCrashed), failed(2, code)]));
        }
    }

    #[test]
    fn system_failures_are_retried_a_bounded_number_of_times() {
        let mut history = Vec::new();
        for attempt in 1..MAX_ATTEMPTS as u32 {
            history.push(failed(attempt, FailureCode::ChromeCrashed));
            history.push(failed(attempt, FailureCode::Drained));
            assert!(may_retry(&history));
        }
        history.push(failed(9, FailureCode::ObjectMissing));
        assert!(!may_retry(&history));
    }

    #[test]
    fn an_outage_uses_up_no_attempt() {
        let mut history: Vec<_> = (1..MAX_ATTEMPTS as u32).map(|n| failed(n, FailureCode::ChromeCrashed)).collect();
        for code in [FailureCode::Storage, FailureCode::Backplane] {
            assert!(code.is_outage());
            history.extend((10..60).map(|attempt| failed(attempt, code)));
            assert!(may_retry(&history));
        }
        history.push(failed(99, FailureCode::ChromeCrashed));
        assert!(!may_retry(&history));
    }

    #[test]
    fn a_task_may_lose_one_process() {
        let mut history = vec![failed(1, FailureCode::WorkerLost), failed(2, FailureCode::Storage)];
        assert!(may_retry(&history));
        history.push(failed(3, FailureCode::WorkerLost));
        assert!(!may_retry(&history));
    }

    #[test]
    fn codes_are_their_own_json() {
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}
