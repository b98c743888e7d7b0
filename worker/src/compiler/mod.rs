//! Compiles projects in processes of their own.
//!
//! A compiler's process is this program again, started with [`COMPILER_COMMAND`]. It reads one project's archive, which
//! is open when it starts, and has no rights ([`hyperfarm_isolation`]): no other files, no network, no environment. It
//! asks the worker for everything else: to keep a file, to read one of its files again, to find a remote file, for the
//! headers of a media file, for a version of the runtime. The worker checks each request as one of a stranger
//! (`process`): a project that takes over its compiler gets what its page could have asked for, and nothing more.
//!
//! | what | where |
//! | --- | --- |
//! | starts processes | here |
//! | what the worker answers, and how it checks | `process` |
//! | what a compiler's process does | `child` |
//! | messages | `messages` |

mod child;
mod messages;
mod process;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperfarm_isolation::EndOnDrop;
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::spec::RenderSpec;
use tokio_util::sync::CancellationToken;

pub use self::child::serve_compiler;
pub use self::messages::PageFacts;
use self::process::CompilerProcess;
use crate::compile::bounds::Bounds;
use crate::compile::services::LocalServices;
use crate::compile::{Compilation, CompileOutput, FetchedFiles};
use crate::error::{DiskError, WorkerError};

/// The argument with which a program becomes a compiler's process: its `main` calls [`serve_compiler`] then.
pub const COMPILER_COMMAND: &str = "compile-project";

/// Limits on the process of one compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Bytes of address space beyond those of its start.
    pub memory: u64,
}

impl Default for CompileLimits {
    /// 2 GiB.
    fn default() -> Self {
        Self { memory: 2 << 30 }
    }
}

/// Where projects are compiled.
#[derive(Debug, Clone)]
pub struct Compilers {
    /// The program of the compilers' processes; none where this process compiles itself.
    program: Option<Arc<Path>>,
    limits: CompileLimits,
}

impl Compilers {
    /// Compiles in this process, for tests and tools: a project that crashes the compiler ends the process.
    pub fn in_process() -> Self {
        Self { program: None, limits: CompileLimits::default() }
    }

    /// Compiles in processes of `program`, which calls [`serve_compiler`] for [`COMPILER_COMMAND`].
    pub fn isolated(program: impl Into<PathBuf>, limits: CompileLimits) -> Self {
        Self { program: Some(Arc::from(program.into())), limits }
    }

    /// The facts of the page in the file `page`; `None` where the file is no page within the bounds of a compile, or was
    /// not read by a confined process. It blocks.
    pub fn read_page(&self, page: &Path) -> Option<PageFacts> {
        let page = File::open(page).ok()?;
        let Some(program) = &self.program else { return PageFacts::read(&page) };
        let process = CompilerProcess::start(program, OwnedFd::from(page), self.limits);
        let facts = process.and_then(CompilerProcess::read_page);
        facts.inspect_err(|error| tracing::debug!(%error, "the page was not read")).ok()?
    }

    /// Lets a process read an empty page, and proves from `/proc` that it is confined. It blocks.
    ///
    /// # Errors
    /// The process cannot be started, does not answer, or has rights that it must not have.
    pub fn check_confinement(&self) -> Result<(), WorkerError> {
        let Some(program) = &self.program else { return Ok(()) };
        let empty = Path::new("/dev/null");
        let page = File::open(empty).map_err(DiskError::at(empty, "cannot be read"))?;
        CompilerProcess::start(program, OwnedFd::from(page), self.limits)?.read_page().map(drop)
    }

    /// A compiler of the project in the archive `bundle`.
    pub(crate) fn open(&self, bundle: &Path, services: LocalServices) -> Result<Compiler, WorkerError> {
        let bundle = File::open(bundle).map_err(DiskError::at(bundle, "cannot be read"))?;
        match &self.program {
            None => {
                let compilation = Compilation::new(Arc::new(services));
                Ok(Compiler::Own { compilation: Box::new(compilation), bundle })
            }
            Some(program) => {
                let process = CompilerProcess::start(program, OwnedFd::from(bundle), self.limits)?;
                Ok(Compiler::Process(Box::new(process), Box::new(services)))
            }
        }
    }
}

/// The compiler of one project.
pub(crate) enum Compiler {
    Own { compilation: Box<Compilation>, bundle: File },
    Process(Box<CompilerProcess>, Box<LocalServices>),
}

impl Compiler {
    /// What ends the compiler's process when it is dropped, also while another thread waits for it.
    pub(crate) fn end_on_drop(&self) -> Result<Option<EndOnDrop>, WorkerError> {
        match self {
            Self::Own { .. } => Ok(None),
            Self::Process(process, _) => process.end_on_drop().map(Some),
        }
    }

    /// Compiles the project. It blocks.
    pub(crate) fn compile(
        &mut self,
        spec: &RenderSpec,
        archive: ArchiveLimits,
        cancelled: &CancellationToken,
    ) -> Result<CompileOutput, WorkerError> {
        match self {
            Self::Own { compilation, bundle } => {
                compilation.compile(bundle, spec, &Bounds::new(cancelled.clone()).with_archive(archive))
            }
            Self::Process(process, services) => process.compile(services, spec, archive),
        }
    }

    /// Fetches URLs that the page requested while it was probed, after the compile. It blocks.
    pub(crate) fn fetch_requested(&mut self, urls: Vec<String>) -> Result<FetchedFiles, WorkerError> {
        match self {
            Self::Own { compilation, .. } => Ok(compilation.fetch_requested(&urls)),
            Self::Process(process, services) => process.fetch_requested(services, urls),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use hyperfarm_backplane::fetch::FetchConfig;
    use hyperfarm_proto::failure::{FailureCode, Owner};
    use tempfile::TempDir;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::cache::Cache;
    use crate::remote::{Remote, RemoteConfig};

    /// Is a compiler's process for [`program`].
    #[test]
    #[ignore = "serves its standard input; the other tests run it in processes of its own"]
    fn serve_standard_input() {
        serve_compiler();
    }

    /// A program that is a compiler's process of this test.
    fn program(folder: &TempDir) -> PathBuf {
        let (own, name) = (std::env::current_exe().unwrap(), "compiler::tests::serve_standard_input");
        script(folder, &format!("exec '{}' --exact {name} --ignored --nocapture --test-threads=1", own.display()))
    }

    fn script(folder: &TempDir, command: &str) -> PathBuf {
        let program = folder.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{command}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        program
    }

    fn archive(folder: &TempDir, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.path().join("bundle.zip");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    /// A page of `elements` elements.
    fn page(elements: usize) -> Vec<u8> {
        let inside: String = (0..elements).map(|number| format!("<i id=i{number} style='color:red'></i>")).collect();
        format!(
            "<div data-composition-id=main data-width=64 data-height=36 data-duration=1><style>i{{color:red}}</style>\
             {inside}</div>"
        )
        .into_bytes()
    }

    fn services(folder: &TempDir) -> LocalServices {
        let fetch = FetchConfig { allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() };
        let remote = Remote::new(RemoteConfig { fetch, ..RemoteConfig::default() }).unwrap();
        LocalServices::new(Arc::new(remote), Arc::new(Cache::open(&folder.path().join("cache")).unwrap()))
    }

    fn open(compilers: &Compilers, folder: &TempDir, bundle: &Path) -> Compiler {
        compilers.open(bundle, services(folder)).unwrap()
    }

    fn compile(compiler: &mut Compiler, spec: &RenderSpec) -> Result<CompileOutput, WorkerError> {
        compiler.compile(spec, ArchiveLimits::DEFAULT, &CancellationToken::new())
    }

    /// Serves `body` for every request, and returns its address.
    fn serve(body: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        format!("http://{address}")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_give_what_this_process_does() {
        let folder = tempfile::tempdir().unwrap();
        let at = serve("p{color:red}");
        let page = format!(
            "<div data-composition-id=main data-width=64 data-height=36 data-duration=2><style>p{{font-family:Lato}}</style>\
             <link rel=stylesheet href='{at}/a.css'><video src=clip.mp4 data-start=0></video><img src=i.gif>\
             <div data-composition-id=card data-composition-src=card.html data-start=0></div></div>"
        );
        let card = b"<template><div data-composition-id=card data-duration=1><p>x</p></div></template>";
        let large = vec![7; 3 << 20];
        let files: [(&str, &[u8]); 5] = [
            ("index.html", page.as_bytes()),
            ("card.html", card),
            ("package.json", b"{\"dependencies\":{\"hyperframes\":\"0.0.1\"}}"),
            ("clip.mp4", b"no video"),
            ("data.bin", &large),
        ];
        let bundle = archive(&folder, &files);
        let program = program(&folder);
        let [own, isolated] =
            [Compilers::in_process(), Compilers::isolated(program, CompileLimits::default())].map(|compilers| {
                let folder = tempfile::tempdir().unwrap();
                let mut compiler = open(&compilers, &folder, &bundle);
                let at = at.clone();
                std::thread::spawn(move || {
                    let output = compile(&mut compiler, &RenderSpec::default()).unwrap();
                    let fetched = compiler.fetch_requested(vec![format!("{at}/b.css")]).unwrap();
                    assert!(fetched.any_new && fetched.files.len() == 2);
                    for file in output.compiled.files.iter().chain(&fetched.files) {
                        let kept = folder.path().join("cache").join(file.hash.to_string());
                        assert_eq!(std::fs::metadata(kept).unwrap().len(), file.bytes, "{}", file.path);
                    }
                    format!("{output:?} {fetched:?}")
                })
                .join()
                .unwrap()
            });
        assert_eq!(own, isolated);
    }

    /// Prints what a process costs: `COMPILER_PROGRAM=target/release/hyperfarm … -- --ignored --nocapture measure`.
    #[test]
    #[ignore = "measures; it asserts nothing"]
    fn measure_the_cost_of_a_process() {
        const REPEATS: usize = 20;
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::var_os("COMPILER_PROGRAM").map_or_else(|| program(&folder), PathBuf::from);
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut projects = vec![("60,000 elements".to_owned(), vec![("index.html".to_owned(), page(60_000))])];
        for example in std::fs::read_dir(examples).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            let mut files = Vec::new();
            let mut folders = vec![example.path()];
            while let Some(inner) = folders.pop() {
                for path in std::fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path()) {
                    match path.is_dir() {
                        true => folders.push(path),
                        false => {
                            let name = path.strip_prefix(example.path()).unwrap().to_str().unwrap().to_owned();
                            files.push((name, std::fs::read(&path).unwrap()));
                        }
                    }
                }
            }
            if files.iter().any(|(name, _)| name == "index.html") {
                projects.push((example.file_name().into_string().unwrap(), files));
            }
        }
        for (name, files) in projects {
            let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
            let bundle = archive(&folder, &files);
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..REPEATS {
                for (times, compilers) in times
                    .iter_mut()
                    .zip([Compilers::in_process(), Compilers::isolated(&program, CompileLimits::default())])
                {
                    let folder = tempfile::tempdir().unwrap();
                    let started = Instant::now();
                    let _ = compile(&mut open(&compilers, &folder, &bundle), &RenderSpec::default()).unwrap();
                    times.push(started.elapsed());
                }
            }
            let [own, isolated] = times.map(|mut times| {
                times.sort();
                times[REPEATS / 2].as_secs_f64() * 1000.0
            });
            println!("{name}: {own:.1} ms here, {isolated:.1} ms in a process, {:.2} times", isolated / own);
        }
    }

    #[test]
    fn errors_of_a_project_are_the_same_from_a_process() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(&folder);
        let deep = "<template>".repeat(20_000);
        let bomb = vec![0; 80 << 20];
        for (files, says) in [
            (vec![("a.html", &b"x"[..])], "the project has no index.html; it has a.html"),
            (vec![("index.html", deep.as_bytes())], "index.html nests elements more than 512 deep"),
            (vec![("index.html", &bomb[..])], "index.html unpacks to more"),
            (vec![("../index.html", &b"x"[..])], "climbs out of the project"),
        ] {
            let bundle = archive(&folder, &files);
            let of = |compilers: Compilers| {
                compile(&mut open(&compilers, &folder, &bundle), &RenderSpec::default()).unwrap_err()
            };
            let own = of(Compilers::in_process());
            let isolated = of(Compilers::isolated(program.clone(), CompileLimits::default()));
            assert!(own.to_string().contains(says), "{own}");
            assert_eq!((own.code(), own.to_string()), (isolated.code(), isolated.to_string()));
        }
    }

    #[test]
    fn a_compile_beyond_its_memory_is_an_error_of_the_project() {
        let folder = tempfile::tempdir().unwrap();
        // The page alone is larger. What the allocator has reserved already is not counted, so a smaller one might fit in there.
        let bundle = archive(&folder, &[("index.html", &page(150_000))]);
        let compilers = Compilers::isolated(program(&folder), CompileLimits { memory: 4 << 20 });
        let error = compile(&mut open(&compilers, &folder, &bundle), &RenderSpec::default()).unwrap_err();
        assert_eq!(error.code(), FailureCode::ProjectTooComplex);
        assert!(error.to_string().contains("more than 4 MiB of memory"), "{error}");
    }

    #[test]
    fn a_crash_is_an_error_of_the_project_and_what_happens_from_outside_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = archive(&folder, &[("index.html", b"x")]);
        for (command, owner, says) in [
            ("kill -SEGV $$", Owner::User, "crashes its compiler"),
            ("echo 'has overflowed its stack' >&2; kill -ABRT $$", Owner::User, "deeper than can be compiled"),
            ("kill -XCPU $$", Owner::User, "120 s of processor time"),
            ("exit 101", Owner::User, "crashes its compiler"),
            // Neither of them is a message.
            ("printf '\\001\\000\\000\\000x' >&0; sleep 60", Owner::User, "no project needs"),
            ("printf '\\377\\377\\377\\377' >&0; sleep 60", Owner::User, "no project needs"),
            ("kill -KILL $$", Owner::System, "signal 9"),
            ("exit 3", Owner::System, "ended too early"),
        ] {
            let program = script(&folder, &format!("ulimit -c 0\nhead -c 4 >/dev/null\n{command}"));
            let compilers = Compilers::isolated(program, CompileLimits::default());
            let error = compile(&mut open(&compilers, &folder, &bundle), &RenderSpec::default()).unwrap_err();
            assert_eq!(error.code().owner(), owner, "{command}: {error}");
            assert!(error.to_string().contains(says), "{command}: {error}");
        }
        let missing = Compilers::isolated("/nonexistent", CompileLimits::default());
        let error = missing.open(&bundle, services(&folder)).err().unwrap();
        assert_eq!(error.code().owner(), Owner::System, "{error}");
    }

    #[test]
    fn a_compiler_that_was_taken_over_gets_no_file_of_another_render() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = archive(&folder, &[("index.html", b"x")]);
        let secret = hyperfarm_proto::id::ContentHash::of(b"secret");
        for request in [
            format!("{{\"Request\":{{\"Read\":\"{secret}\"}}}}"),
            format!("{{\"Request\":{{\"Probe\":{{\"hash\":\"{secret}\",\"name\":\"x\"}}}}}}"),
        ] {
            let length = request.len();
            let command =
                format!("head -c 4 >/dev/null\nprintf '\\{length:03o}\\000\\000\\000%s' '{request}' >&0\nsleep 60");
            let compilers = Compilers::isolated(script(&folder, &command), CompileLimits::default());
            let local = services(&folder);
            std::fs::write(folder.path().join("cache").join(secret.to_string()), "secret").unwrap();
            let mut compiler = compilers.open(&bundle, local).unwrap();
            let error = compile(&mut compiler, &RenderSpec::default()).unwrap_err();
            assert!(error.to_string().contains("no project needs"), "{error}");
        }
    }

    #[test]
    fn a_compile_that_nobody_waits_for_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = archive(&folder, &[("index.html", &page(150_000))]);
        let silent = script(&folder, "exec sleep 60");
        let silent = Compilers::isolated(silent, CompileLimits::default()).open(&bundle, services(&folder)).unwrap();
        let busy = Compilers::isolated(program(&folder), CompileLimits::default());
        let busy = busy.open(&bundle, services(&folder)).unwrap();
        for mut compiler in [silent, busy] {
            let end = compiler.end_on_drop().unwrap();
            let Compiler::Process(process, _) = &compiler else { unreachable!() };
            let process = PathBuf::from(format!("/proc/{}", process.id()));
            let (finished, result) = mpsc::channel();
            std::thread::spawn(move || {
                let output = compile(&mut compiler, &RenderSpec::default()).map(|_| ());
                // The compiler, and its process with it, end with this thread.
                drop(compiler);
                finished.send(output).unwrap();
            });
            // In the midst of the compile, unless the machine is very quick; then the process waits for the next job.
            std::thread::sleep(Duration::from_millis(300));
            assert!(process.exists());
            let cancelled = Instant::now();
            drop(end);
            // On a machine without other work it takes milliseconds.
            let _ = result.recv_timeout(Duration::from_secs(5)).unwrap();
            println!("ended after {:?}", cancelled.elapsed());
            assert!(!process.exists());
        }
    }
}
