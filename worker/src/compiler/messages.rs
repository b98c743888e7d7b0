//! The messages between the worker and a compiler's process.

use std::fs::File;
use std::io::Read;

use hyperfarm_media::MediaInfo;
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::spec::RenderSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compile::bounds::{MAX_PAGE_BYTES, parse_page};
use crate::compile::html::AuthoredPage;
use crate::compile::services::{FontFace, RuntimeOfPage};
use crate::compile::unpack::ProjectFile;
use crate::compile::{CompileOutput, FetchedFiles};
use crate::error::ProjectError;
use crate::remote::{RemoteFile, RemoteRequest};
use crate::runtimes::NamedRuntime;

/// Most bytes of a message. The largest are the list of a project's files, and thousands of URLs.
pub(super) const MAX_BYTES: u32 = 32 << 20;

/// Most characters of a page's title.
const TITLE_CHARACTERS: usize = 500;

/// The first message to a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// Bytes of address space that it may take beyond those of its start.
    pub(super) memory: u64,
    /// The faces of the operator's font folder.
    pub(super) fonts: Vec<FontFace>,
}

/// What a process is told to do next. Its file is the archive of the project, or the page.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    ReadPage,
    Compile { spec: Box<RenderSpec>, archive: ArchiveLimits },
    FetchRequested(Vec<String>),
}

/// A message of a process: a request, or the end of its job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Request(Request),
    Done(Outcome),
}

/// What a process requests; see [`crate::compile::services::CompileServices`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Keep the file that follows.
    Insert,
    Read(ContentHash),
    Find(Vec<RemoteRequest>),
    Probe {
        hash: ContentHash,
        name: String,
    },
    AddFont(usize),
    IsOnMachine(String),
    /// It has no answer.
    SetPage(AuthoredPage),
    ChooseRuntime(Option<NamedRuntime>),
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Inserted(ProjectFile),
    /// The file follows.
    File,
    Found(Vec<Result<RemoteFile, String>>),
    Probed(Option<Box<MediaInfo>>),
    Font(Option<ProjectFile>),
    OnMachine(bool),
    Runtime(RuntimeOfPage),
}

/// How a job ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Outcome {
    Page(Option<PageFacts>),
    Compiled(Box<CompileOutput>),
    Fetched(FetchedFiles),
    Failed(ProjectError),
}

/// What a command needs to know of a page before it is rendered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageFacts {
    /// The first 500 characters of its title, with single spaces; `None` where it has none.
    pub title: Option<String>,
    /// Names and types of the variables that it declares.
    pub variable_types: Vec<(String, String)>,
    /// What its root composition says.
    pub page: AuthoredPage,
}

impl PageFacts {
    /// The facts of the page in `file`; `None` where it is no page within the bounds of a compile.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut html = String::new();
        let most = MAX_PAGE_BYTES as u64 + 1;
        file.take(most).read_to_string(&mut html).ok()?;
        let document = parse_page(&html)?;
        let title = document.select("head > title").text();
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        let declarations = document.select("[data-composition-variables]");
        let lists = declarations.iter().filter_map(|element| element.attr("data-composition-variables"));
        let declared = lists.filter_map(|text| serde_json::from_str::<Vec<Value>>(&text).ok()).flatten();
        let variable_types =
            declared.filter_map(|one| Some((one["id"].as_str()?.to_owned(), one["type"].as_str()?.to_owned())));
        Some(Self {
            title: (!title.is_empty()).then(|| title.chars().take(TITLE_CHARACTERS).collect()),
            variable_types: variable_types.collect(),
            page: AuthoredPage::read(&document),
        })
    }
}
