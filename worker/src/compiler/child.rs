//! What a compiler's process does.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use hyperfarm_isolation::messages::{BLOCK_BYTES, Blocks, receive, send, send_block, send_end};
use hyperfarm_isolation::{ProcessLimits, confine, enter};
use hyperfarm_media::MediaInfo;
use hyperfarm_proto::id::ContentHash;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::messages::{Answer, Job, MAX_BYTES, Message, Outcome, PageFacts, Request, Start};
use super::process::TIME;
use crate::cache::InsertError;
use crate::compile::Compilation;
use crate::compile::bounds::Bounds;
use crate::compile::html::AuthoredPage;
use crate::compile::services::{CompileServices, FontFace, RuntimeOfPage};
use crate::compile::unpack::ProjectFile;
use crate::error::{ProjectError, WorkerError};
use crate::remote::{RemoteFile, RemoteRequest};
use crate::runtimes::NamedRuntime;

/// Bytes that it may print to standard error: the message of a panic.
const PRINTED_BYTES: u64 = 64 * 1024;

/// Exit code of a process whose worker is gone, or answers something else than was asked.
const NO_WORKER: i32 = 3;

/// Runs this process as a compiler: standard input is its socket, standard output the archive or the page.
pub fn serve_compiler() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // The worker is gone, or sees that this process is.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let (mut worker, file) = enter()?;
    let Start { memory, fonts } = receive(&mut worker, MAX_BYTES)?;
    confine(&ProcessLimits { memory, cpu: TIME, file_bytes: PRINTED_BYTES })?;
    let services = Arc::new(WorkerServices { worker: Mutex::new(worker), fonts });
    let mut compilation = Compilation::new(services.clone());
    loop {
        let job = services.next_job()?;
        let Some(job) = job else { return Ok(()) };
        let outcome = match job {
            Job::ReadPage => Outcome::Page(PageFacts::read(&file)),
            Job::Compile { spec, archive } => {
                let bounds = Bounds::new(CancellationToken::new()).with_archive(archive);
                match compilation.compile(&file, &spec, &bounds) {
                    Ok(output) => Outcome::Compiled(Box::new(output)),
                    Err(WorkerError::Project(error)) => Outcome::Failed(error),
                    // The worker knows its own errors, and has ended this process because of them.
                    Err(_) => return Err(io::ErrorKind::Other.into()),
                }
            }
            Job::FetchRequested(urls) => Outcome::Fetched(compilation.fetch_requested(&urls)),
        };
        services.finish(outcome)?;
    }
}

/// The services of the worker at the other end of the socket. The process ends where the worker does not answer.
struct WorkerServices {
    worker: Mutex<UnixStream>,
    fonts: Vec<FontFace>,
}

impl WorkerServices {
    /// What to do next; `None` where the worker has closed the socket.
    fn next_job(&self) -> io::Result<Option<Job>> {
        match receive(&mut *self.worker.lock(), MAX_BYTES) {
            Ok(job) => Ok(Some(job)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn finish(&self, outcome: Outcome) -> io::Result<()> {
        let mut worker = self.worker.lock();
        match send(&mut *worker, &Message::Done(outcome), MAX_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let text = format!(
                    "the list of the project's files, remote addresses and warnings has more than {MAX_BYTES} bytes; use \
                     fewer remote files and shorter addresses"
                );
                send(&mut *worker, &Message::Done(Outcome::Failed(ProjectError::TooComplex(text))), MAX_BYTES)
            }
            sent => sent,
        }
    }

    fn request(&self, worker: &mut UnixStream, request: Request) {
        if send(worker, &Message::Request(request), MAX_BYTES).is_err() {
            end();
        }
    }

    fn answer(&self, worker: &mut UnixStream) -> Answer {
        receive(worker, MAX_BYTES).unwrap_or_else(|_| end())
    }

    fn ask(&self, request: Request) -> Answer {
        let mut worker = self.worker.lock();
        self.request(&mut worker, request);
        self.answer(&mut worker)
    }
}

/// Ends this process, whose worker is gone.
fn end() -> ! {
    std::process::exit(NO_WORKER)
}

impl CompileServices for WorkerServices {
    fn insert_from(&self, reader: &mut dyn Read, limit: u64) -> Result<Option<(ContentHash, u64)>, InsertError> {
        let mut worker = self.worker.lock();
        self.request(&mut worker, Request::Insert);
        let (mut block, mut length) = (vec![0; BLOCK_BYTES], 0_u64);
        let source_error = loop {
            match reader.read(&mut block) {
                Ok(0) => break None,
                Ok(read) => {
                    length += read as u64;
                    if length > limit {
                        send_end(&mut *worker, false).unwrap_or_else(|_| end());
                        return Ok(None);
                    }
                    send_block(&mut *worker, &block[..read]).unwrap_or_else(|_| end());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        send_end(&mut *worker, source_error.is_none()).unwrap_or_else(|_| end());
        match source_error {
            Some(error) => Err(InsertError::Source(error)),
            None => match self.answer(&mut worker) {
                Answer::Inserted(ProjectFile { hash, bytes }) => Ok(Some((hash, bytes))),
                _ => end(),
            },
        }
    }

    fn read(&self, hash: &ContentHash) -> Result<Vec<u8>, WorkerError> {
        let mut worker = self.worker.lock();
        self.request(&mut worker, Request::Read(*hash));
        let Answer::File = self.answer(&mut worker) else { end() };
        let mut bytes = Vec::new();
        match Blocks::new(&mut *worker).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(_) => end(),
        }
    }

    fn find(&self, requests: Vec<RemoteRequest>) -> Vec<Result<RemoteFile, String>> {
        match self.ask(Request::Find(requests)) {
            Answer::Found(found) => found,
            _ => end(),
        }
    }

    fn probe(&self, hash: &ContentHash, name: &str) -> Option<MediaInfo> {
        match self.ask(Request::Probe { hash: *hash, name: name.to_owned() }) {
            Answer::Probed(info) => info.map(|info| *info),
            _ => end(),
        }
    }

    fn fonts(&self) -> &[FontFace] {
        &self.fonts
    }

    fn add_font(&self, number: usize) -> Option<ProjectFile> {
        match self.ask(Request::AddFont(number)) {
            Answer::Font(file) => file,
            _ => end(),
        }
    }

    fn is_on_machine(&self, family: &str) -> bool {
        match self.ask(Request::IsOnMachine(family.to_owned())) {
            Answer::OnMachine(is_there) => is_there,
            _ => end(),
        }
    }

    fn set_page(&self, page: AuthoredPage) {
        self.request(&mut self.worker.lock(), Request::SetPage(page));
    }

    fn choose_runtime(&self, named: Option<NamedRuntime>) -> Result<RuntimeOfPage, WorkerError> {
        match self.ask(Request::ChooseRuntime(named)) {
            Answer::Runtime(runtime) => Ok(runtime),
            _ => end(),
        }
    }
}
