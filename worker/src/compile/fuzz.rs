//! Random projects against the compiler: whatever a zip holds, the compiler gives files or an error of its author,
//! never a panic, and the same every time. `make fuzz` runs more cases.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use hyperfarm_backplane::fetch::FetchConfig;
use hyperfarm_proto::failure::Owner;
use hyperfarm_proto::plan::CompiledFile;
use hyperfarm_proto::spec::RenderSpec;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio_util::sync::CancellationToken;

use super::Compilation;
use super::bounds::Bounds;
use super::services::LocalServices;
use crate::cache::Cache;
use crate::error::WorkerError;
use crate::remote::{Remote, RemoteConfig};

/// Longest error message in bytes.
const LONGEST_MESSAGE: usize = 2000;

/// Parts of pages. No host in them has a name, and nothing is fetched.
const HTML: &[&str] = &[
    "<div data-composition-id=main data-width=640 data-height=360 data-duration=1>",
    "<div data-composition-id=\"a<b'&quot;\">",
    "<div data-composition-id=sub data-composition-src=sub.html data-start=0.5 data-duration=x>",
    "<template data-composition-id=sub>",
    "</template>",
    "<template>",
    "</div>",
    "<div>",
    "<p id=a class='b c'>",
    "</p>",
    "<html data-composition-variables='[{\"id\":\"v\",\"type\":\"number\",\"default\":1}]'>",
    "<html data-composition-variables='[{'>",
    " data-variable-values='{\"v\":[]}' ",
    "{{v}}",
    "${v}",
    "<head>",
    "</head>",
    "<body>",
    "</body>",
    "<base href='../x/'>",
    "<base href='//[::1'>",
    "<script>",
    "window.__timelines={main:1}",
    "document.fonts.add(new FontFace('F','url(f.woff2)'))",
    "</script>",
    "<script type=module>",
    "import './m.js'",
    "<script type=importmap>{\"imports\":{\"a\":\"./b.js\"}}</script>",
    "<script src=m.js></script>",
    "<script src='../../up.js'></script>",
    "<script>'</scr'+'ipt>'",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<style>",
    "</style>",
    "<link rel=stylesheet href=s.css>",
    "<link rel=stylesheet href='data:text/css,p{}'>",
    "<img src=i.gif>",
    "<img srcset='i.gif 1x, j.png 2x' src>",
    "<img src='data:image/gif;base64,R0lGOD'>",
    "<video src=v.mp4 data-start=-1 data-duration=1e309 muted>",
    "<audio src='' data-volume=NaN loop>",
    "<source src=v.mp4>",
    "<svg>",
    "<use href='#a'>",
    "<foreignObject>",
    "</svg>",
    "<svg id=a><style>#a{}</style><defs><g id=a /></defs>",
    "<math>",
    "<table>",
    "<td>",
    "<select>",
    "<option>",
    "<textarea>",
    "<noscript>",
    "<frameset>",
    "<iframe srcdoc='<p>'>",
    " style='background:url(i.gif);animation:k 1s' ",
    " data-edit='{}' ",
    " data-hf-edits='[{\"op\":1}]' ",
    " data-no-timeline ",
    "\u{2028}",
    "\0",
    "\u{feff}",
    "&#0;",
    "&nbsp;",
    "é",
    "\u{202e}",
    "\r\n",
    "<",
    ">",
    "\"",
    "'",
    "=",
    "/>",
];

/// Parts of style sheets.
const CSS: &[&str] = &[
    "@import 's.css';",
    "@import url(\"//[\");",
    "@font-face{font-family:F;src:url(f.woff2)}",
    "@media (a){",
    "@keyframes k{to{",
    "@layer a,b;",
    "@supports",
    "@container x (",
    "#a",
    ".b",
    "p",
    "*",
    "::before",
    ":is(",
    ":has(>",
    ":not(#a",
    "[data-x='",
    "']",
    "(",
    ")",
    "{",
    "}",
    ";",
    ",",
    ":",
    "font:700 64px Inter",
    "font-family:'Inter', x",
    "background:url(i.gif)",
    "url(",
    "\\",
    "\\000041 ",
    "/*",
    "*/",
    "calc(1px + ",
    "var(--",
    "!important",
    "<!--",
    "-->",
    "\"",
    "'",
    "\n",
    "\0",
    "é",
];

/// Names of files, good and bad.
const NAMES: &[&str] = &[
    "index.html",
    "sub.html",
    "s.css",
    "m.js",
    "i.gif",
    "a/b.svg",
    "v.json",
    "../x",
    "A/B.svg",
    "a",
    "a/b.svg/c",
    "\\",
    "é",
];

fn text(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        20 => select(parts).prop_map(str::to_owned),
        // The same part many times over.
        1 => (select(parts), 1usize..700).prop_map(|(part, times)| part.repeat(times)),
        1 => any::<String>(),
    ];
    vec(part, 0..60).prop_map(|parts| parts.concat())
}

fn file() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop_oneof![9 => select(NAMES).prop_map(str::to_owned), 1 => any::<String>()];
    let bytes = prop_oneof![
        4 => text(HTML).prop_map(String::into_bytes),
        2 => text(CSS).prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..300),
    ];
    (name, bytes)
}

/// A project as a zip, some of whose bytes may be others.
fn project() -> impl Strategy<Value = Vec<u8>> {
    let page = prop_oneof![
        text(HTML),
        text(HTML).prop_map(|inner| format!("<!doctype html><body>{}{inner}</div></body>", HTML[0])),
        text(CSS).prop_map(|css| format!("<style>{css}</style>{}</div>", HTML[0])),
    ];
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)];
    (page, vec(file(), 0..5), changes).prop_map(|(page, files, changes)| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
        let page = ("index.html".to_owned(), page.into_bytes());
        for (name, bytes) in std::iter::once(page).chain(files) {
            // A name that is there twice is refused by the writer; by hand it is among the changed bytes.
            if writer.start_file(name, zip::write::SimpleFileOptions::default()).is_ok() {
                writer.write_all(&bytes).unwrap();
            }
        }
        let mut bytes: Vec<u8> = writer.finish().unwrap().into_inner();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// Compiles a zip in a folder of its own.
fn compiled(bundle: &[u8], spec: &RenderSpec, folder: &Path) -> Result<(Vec<CompiledFile>, String), WorkerError> {
    let cache = Arc::new(Cache::open(&folder.join("cache")).unwrap());
    let path = folder.join("bundle.zip");
    std::fs::write(&path, bundle).unwrap();
    let fetch = FetchConfig { enabled: false, ..FetchConfig::default() };
    let remote = Arc::new(Remote::new(RemoteConfig { fetch, ..RemoteConfig::default() }).unwrap());
    let mut compilation = Compilation::new(Arc::new(LocalServices::new(remote, cache)));
    let bounds = Bounds::new(CancellationToken::new());
    let compiled = compilation.compile(&std::fs::File::open(&path).unwrap(), spec, &bounds)?.compiled;
    Ok((compiled.files, format!("{:?} {}", compiled.warnings, compiled.variables)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fuzz_projects(bundle in project(), variables in proptest::option::of("\\{\"v\":(1|\"[\u{20}-\u{2029}]{0,20}\"|\\{\\}|null)\\}")) {
        let spec = RenderSpec { variables, ..RenderSpec::default() };
        // The fetcher wants a runtime, as in a worker's thread.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        match (compiled(&bundle, &spec, first.path()), compiled(&bundle, &spec, second.path())) {
            (Ok(once), Ok(again)) => prop_assert_eq!(once, again),
            (Err(once), Err(again)) => {
                prop_assert_eq!(once.code().owner(), Owner::User, "{}", once);
                let message = once.to_string();
                prop_assert!(message.len() <= LONGEST_MESSAGE, "{}", message);
                prop_assert!(!message.contains(&*first.path().to_string_lossy()), "{}", message);
                prop_assert_eq!(message, again.to_string());
            }
            (once, again) => prop_assert!(false, "{:?} and {:?}", once.err(), again.err()),
        }
    }
}
