//! A compiler's process, seen from the worker: it answers the process, and checks what it asks for and what it returns.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hyperfarm_isolation::messages::{BLOCK_BYTES, Blocks, send_block, send_end};
use hyperfarm_isolation::{ConfinedProcess, EndOnDrop, Ended, Messages};
use hyperfarm_proto::archive::{ArchiveLimits, check_name};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CompiledFile, RuntimeVersion};
use hyperfarm_proto::spec::RenderSpec;

use super::messages::{Answer, Job, MAX_BYTES, Message, Outcome, PageFacts, Request, Start};
use super::{COMPILER_COMMAND, CompileLimits};
use crate::cache::InsertError;
use crate::compile::bounds::COMPUTE_TIME;
use crate::compile::services::{CompileServices, FontFace, LocalServices, MAX_REFERENCES};
use crate::compile::unpack::ProjectFile;
use crate::compile::{CompileOutput, FetchedFiles};
use crate::error::{DiskError, ProjectError, WorkerError};
use crate::remote::{RENDER_TIME, RemoteFile};

/// Longest job of a process, and its processor time.
pub(super) const TIME: Duration = RENDER_TIME.saturating_add(COMPUTE_TIME);

/// Time after [`TIME`] for the process's own error, which says more.
const GRACE: Duration = Duration::from_secs(5);

/// Most bytes of files that a compile adds to those of its archive.
const MAX_ADDED_BYTES: u64 = 1 << 30;

/// Most files that a compile adds to those of its archive and to one other version of each.
const MAX_ADDED_FILES: usize = 20_000;

/// A compiler's process.
pub(crate) struct CompilerProcess {
    process: ConfinedProcess,
    limits: CompileLimits,
    /// Whether the first message was sent.
    is_started: bool,
    /// Limits of the project's archive.
    archive: ArchiveLimits,
    /// Files that the process may read, and return: those that it kept, fonts and remote files; with their length.
    files: HashMap<ContentHash, u64>,
    /// How many files it kept.
    kept_files: usize,
    /// Their bytes.
    kept_bytes: u64,
    /// Remote files that it asked for.
    references: usize,
    /// Whether it told what the root says.
    has_page: bool,
    /// The runtime that was chosen for it.
    runtime: Option<RuntimeVersion>,
}

impl CompilerProcess {
    /// Starts a process of `program` that reads `file`: an archive or a page.
    pub(super) fn start(program: &Path, file: OwnedFd, limits: CompileLimits) -> Result<Self, WorkerError> {
        let started = ConfinedProcess::start(program, COMPILER_COMMAND, file, Messages::Kept);
        Ok(Self {
            process: started.map_err(DiskError::at(program, "cannot be started as a compiler"))?,
            limits,
            is_started: false,
            archive: ArchiveLimits::DEFAULT,
            files: HashMap::new(),
            kept_files: 0,
            kept_bytes: 0,
            references: 0,
            has_page: false,
            runtime: None,
        })
    }

    /// What ends the process when it is dropped.
    pub(super) fn end_on_drop(&self) -> Result<EndOnDrop, WorkerError> {
        self.process.end_on_drop().map_err(|error| WorkerError::Inconsistent(format!("the compiler's socket: {error}")))
    }

    /// The number of the process.
    #[cfg(test)]
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The facts of the page that the process reads, with the proof that it was confined when it read them.
    pub(super) fn read_page(mut self) -> Result<Option<PageFacts>, WorkerError> {
        let Outcome::Page(facts) = self.run(None, &Job::ReadPage)? else { return Err(disorder()) };
        self.check_confinement()?;
        Ok(facts)
    }

    /// Proves from `/proc` that the process is confined, once it has done a job.
    fn check_confinement(&self) -> Result<(), WorkerError> {
        let confined = self.process.check_confinement();
        confined.map_err(|excess| WorkerError::Inconsistent(format!("a compiler's process has {excess}")))
    }

    /// Compiles the project that the process reads.
    pub(super) fn compile(
        &mut self,
        services: &LocalServices,
        spec: &RenderSpec,
        archive: ArchiveLimits,
    ) -> Result<CompileOutput, WorkerError> {
        self.archive = archive;
        let job = Job::Compile { spec: Box::new(spec.clone()), archive };
        let Outcome::Compiled(mut output) = self.run(Some(services), &job)? else { return Err(disorder()) };
        let compiled = &mut output.compiled;
        self.check_files(&compiled.files)?;
        if !compiled.files.iter().any(|file| file.path == compiled.entry) {
            return Err(disorder());
        }
        compiled.runtime = self.runtime.clone().ok_or_else(disorder)?;
        Ok(*output)
    }

    /// Fetches URLs that the page requested while it was probed.
    pub(super) fn fetch_requested(
        &mut self,
        services: &LocalServices,
        urls: Vec<String>,
    ) -> Result<FetchedFiles, WorkerError> {
        let Outcome::Fetched(fetched) = self.run(Some(services), &Job::FetchRequested(urls))? else {
            return Err(disorder());
        };
        self.check_files(&fetched.files)?;
        Ok(fetched)
    }

    /// Fails unless the files are those of this process, at paths inside the project.
    fn check_files(&self, files: &[CompiledFile]) -> Result<(), WorkerError> {
        // The compiler adds names to those of the archive, which it has checked.
        let limits =
            ArchiveLimits { depth: usize::MAX, name_bytes: usize::MAX, part_bytes: usize::MAX, ..self.archive };
        let is_own = |file: &CompiledFile| {
            self.files.get(&file.hash) == Some(&file.bytes) && check_name(&file.path, &limits).is_ok()
        };
        if files.iter().all(is_own) { Ok(()) } else { Err(disorder()) }
    }

    /// Lets the process do `job`, and answers its requests until it is done. A page is read without `services`.
    fn run(&mut self, services: Option<&LocalServices>, job: &Job) -> Result<Outcome, WorkerError> {
        self.process.set_deadline(Instant::now() + TIME + GRACE);
        if !self.is_started {
            let fonts: Vec<FontFace> = services.map(|services| services.fonts().to_vec()).unwrap_or_default();
            self.send(&Start { memory: self.limits.memory, fonts })?;
            self.is_started = true;
        }
        self.send(job)?;
        loop {
            match self.process.receive(MAX_BYTES).map_err(|error| self.lost(&error))? {
                Message::Done(Outcome::Failed(error)) => return Err(error.into()),
                Message::Done(outcome) => return Ok(outcome),
                Message::Request(request) => self.answer(services.ok_or_else(disorder)?, request)?,
            }
        }
    }

    fn answer(&mut self, services: &LocalServices, request: Request) -> Result<(), WorkerError> {
        let answer = match request {
            Request::Insert => match self.insert(services)? {
                Some(file) => Answer::Inserted(file),
                None => return Ok(()),
            },
            Request::Read(hash) => return self.send_file(services, &hash),
            Request::Find(requests) => {
                self.references += requests.len();
                if self.references > MAX_REFERENCES {
                    return Err(disorder());
                }
                let found = services.find(requests);
                for file in found.iter().flatten() {
                    if let RemoteFile::Cached(file) = file {
                        self.files.insert(file.hash, file.bytes);
                    }
                }
                Answer::Found(found)
            }
            Request::Probe { hash, name } => {
                self.check_own(&hash)?;
                Answer::Probed(services.probe(&hash, &name).map(Box::new))
            }
            Request::AddFont(number) => {
                let file = services.add_font(number);
                self.files.extend(file.iter().map(|file| (file.hash, file.bytes)));
                Answer::Font(file)
            }
            Request::IsOnMachine(family) => Answer::OnMachine(services.is_on_machine(&family)),
            Request::SetPage(_) if self.has_page => return Err(disorder()),
            Request::SetPage(page) => {
                self.has_page = true;
                services.set_page(page);
                return Ok(());
            }
            Request::ChooseRuntime(_) if self.runtime.is_some() => return Err(disorder()),
            Request::ChooseRuntime(named) => {
                let chosen = services.choose_runtime(named)?;
                self.runtime = Some(chosen.runtime.clone());
                Answer::Runtime(chosen)
            }
        };
        self.send(&answer)
    }

    /// Keeps the file that the process sends; `None` where it gives the file up.
    fn insert(&mut self, services: &LocalServices) -> Result<Option<ProjectFile>, WorkerError> {
        let most = self.archive.unpacked_bytes.saturating_add(MAX_ADDED_BYTES);
        self.kept_files += 1;
        if self.kept_files > self.archive.entries.saturating_mul(2).saturating_add(MAX_ADDED_FILES) {
            return Err(disorder());
        }
        let mut blocks = Blocks::new(&mut self.process);
        let inserted = services.insert_from(&mut blocks, most.saturating_sub(self.kept_bytes));
        let are_abandoned = blocks.are_abandoned();
        match inserted {
            Ok(Some((hash, bytes))) => {
                self.kept_bytes += bytes;
                self.files.insert(hash, bytes);
                Ok(Some(ProjectFile { hash, bytes }))
            }
            Ok(None) => {
                let text = format!("the project's files and what compiling adds to them have more than {most} bytes");
                Err(ProjectError::TooComplex(text).into())
            }
            Err(InsertError::Source(_)) if are_abandoned => Ok(None),
            Err(InsertError::Source(error)) => Err(self.lost(&error)),
            Err(InsertError::Cache(error)) => Err(error.into()),
        }
    }

    fn send_file(&mut self, services: &LocalServices, hash: &ContentHash) -> Result<(), WorkerError> {
        self.check_own(hash)?;
        let mut file = services.open(hash)?;
        self.send(&Answer::File)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = file.read(&mut block).map_err(|source| {
                WorkerError::Inconsistent(format!("a file of the worker's cache cannot be read: {source}"))
            })?;
            let sent = match read {
                0 => send_end(&mut self.process, true),
                read => send_block(&mut self.process, &block[..read]),
            };
            sent.map_err(|error| self.lost(&error))?;
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Fails for a file that is not the process's: the cache has those of other renders too.
    fn check_own(&self, hash: &ContentHash) -> Result<(), WorkerError> {
        if self.files.contains_key(hash) { Ok(()) } else { Err(disorder()) }
    }

    fn send(&mut self, message: &impl serde::Serialize) -> Result<(), WorkerError> {
        self.process.send(message, MAX_BYTES).map_err(|error| self.lost(&error))
    }

    /// The error of a process that does not answer.
    fn lost(&mut self, error: &io::Error) -> WorkerError {
        let ended = self.process.end(error);
        let printed = self.process.printed();
        tracing::debug!(?ended, printed, "the compiler's process ended");
        let mebibytes = self.limits.memory >> 20;
        let seconds = TIME.as_secs();
        let text = match ended {
            Ended::TooSlow => format!("the project takes longer than {seconds} s to compile"),
            Ended::CpuTime => format!("the project takes more than {seconds} s of processor time to compile"),
            Ended::Aborted if printed.contains("memory allocation of") => {
                format!("the project takes more than {mebibytes} MiB of memory to compile; make it smaller")
            }
            Ended::Aborted if printed.contains("overflowed its stack") => {
                "the project nests something deeper than can be compiled".to_owned()
            }
            Ended::Aborted | Ended::Crashed(_) | Ended::Panicked => {
                tracing::warn!(?ended, printed, "a project crashed its compiler");
                "the project crashes its compiler; simplify its pages, style sheets and scripts".to_owned()
            }
            Ended::GivenUp => return WorkerError::Cancelled("compile"),
            Ended::Disorder => return disorder(),
            Ended::Outside(signal) => {
                return WorkerError::Inconsistent(format!("the compiler was ended from outside by signal {signal}"));
            }
            Ended::Exited(status) => {
                return WorkerError::Inconsistent(format!("the compiler ended too early ({status})"));
            }
            Ended::Unknown(error) => {
                return WorkerError::Inconsistent(format!("the compiler cannot be waited for: {error}"));
            }
        };
        ProjectError::TooComplex(text).into()
    }
}

/// The error of a process that asks for what no compiler asks for: the project has taken its compiler over.
fn disorder() -> WorkerError {
    let text = "the project cannot be compiled: its compiler asks for something that no project needs";
    ProjectError::TooComplex(text.to_owned()).into()
}
