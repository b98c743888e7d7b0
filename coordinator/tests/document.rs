//! The documents of the API that are checked in.

use hyperfarm_coordinator::api::openapi;
use hyperfarm_coordinator::api::routes::ROUTES;

/// What is checked in at `path` is what the code makes; `HYPERFARM_BLESS=1` writes it.
fn assert_checked_in(path: &str, made: &str) {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("HYPERFARM_BLESS").is_ok() {
        std::fs::write(&path, made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "{path} is not what the code says; make it anew with HYPERFARM_BLESS=1 and this test");
}

#[test]
fn the_reference_is_what_the_code_says() {
    assert_checked_in("docs/api.md", &openapi::markdown(ROUTES));
}

#[test]
fn the_document_is_what_the_code_says() {
    let made = serde_json::to_string_pretty(&openapi::document(ROUTES)).unwrap();
    assert_checked_in("docs/openapi.json", &format!("{made}\n"));
}
