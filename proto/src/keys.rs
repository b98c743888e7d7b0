//! Names of objects in storage.
//!
//! **Invariant: object storage is the truth.** Request, draft, plan, segments, output and terminal state live under
//! these keys; ledger and broker can be rebuilt from them.

use crate::id::{ContentHash, RenderId};
use crate::spec::{AudioCodec, Format};
use crate::task::Step;

/// Prefix of every render.
pub const RENDERS: &str = "renders";

/// A project's zip, by its hash.
pub fn bundle(hash: &ContentHash) -> String {
    format!("bundles/{hash}.zip")
}

/// Any file, by its hash.
pub fn blob(hash: &ContentHash) -> String {
    format!("blobs/{hash}")
}

/// Folder of what names a package of the HyperFrames runtime, by version.
pub const RUNTIME_VERSIONS: &str = "runtimes/versions";

/// What names the package of a version of the HyperFrames runtime.
pub fn runtime_version(version: &str) -> String {
    format!("{RUNTIME_VERSIONS}/{version}.json")
}

/// A package of the HyperFrames runtime, by its hash.
pub fn runtime_package(hash: &ContentHash) -> String {
    format!("runtimes/packages/{hash}.json")
}

/// Which version is the default, where it is not the built-in one.
pub const RUNTIME_DEFAULT: &str = "runtimes/default.json";

/// Folder of everything of one render.
pub fn render_prefix(render: &RenderId) -> String {
    format!("{RENDERS}/{render}")
}

/// The request.
pub fn request(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/request.json")
}

/// The draft, which is the result of the plan stage.
pub fn draft(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/draft.bin")
}

/// The warnings that were found before a plan stage failed.
pub fn found_warnings(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/warnings.json")
}

/// The plan with its chunk table.
pub fn plan(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/plan.bin")
}

/// Folder of all segments and what lies beside them.
pub fn segments_prefix(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/segments")
}

/// One attempt's segment.
pub fn segment(render: &RenderId, chunk: u32, attempt: u32, hash: &ContentHash, format: Format) -> String {
    format!("{RENDERS}/{render}/segments/{chunk}/{attempt}-{hash}.{}", format.segment_extension())
}

/// The record beside a segment.
pub fn segment_record(segment_key: &str) -> String {
    format!("{segment_key}.json")
}

/// The still of a segment's first frame, beside it. Not part of the segment: a render without it is whole.
pub fn segment_thumbnail(segment_key: &str) -> String {
    format!("{segment_key}.jpg")
}

/// Chunk and attempt of a segment's key; `None` for records and for anything else.
pub fn parse_segment(key: &str) -> Option<(u32, u32)> {
    let (_, rest) = key.rsplit_once("/segments/")?;
    let (chunk, file) = rest.split_once('/')?;
    let (attempt, name) = file.split_once('-')?;
    let (hash, extension) = name.split_once('.')?;
    if extension.contains('.') || hash.parse::<ContentHash>().is_err() {
        return None;
    }
    Some((chunk.parse().ok()?, attempt.parse().ok()?))
}

/// The mixed sound.
pub fn audio(render: &RenderId, codec: impl Into<AudioCodec>) -> String {
    format!("{RENDERS}/{render}/audio.{}", codec.into().extension())
}

/// The record of the mixed sound.
pub fn audio_record(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/audio.json")
}

/// Folder of a render's log. The order of the keys is the order of the steps.
pub fn log_prefix(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/log")
}

/// The log of one attempt at a step.
pub fn task_log(render: &RenderId, step: Step, attempt: u32) -> String {
    let name = match step {
        Step::Plan => "1-plan".to_owned(),
        Step::Audio => "2-audio".to_owned(),
        Step::Chunk(chunk) => format!("3-chunk-{chunk:06}"),
        Step::Stitch => "4-stitch".to_owned(),
    };
    format!("{}/{name}-{attempt:04}.jsonl", log_prefix(render))
}

/// The finished video.
pub fn output(render: &RenderId, format: Format) -> String {
    format!("{RENDERS}/{render}/output.{}", format.extension())
}

/// A file beside the finished video.
pub fn sidecar(render: &RenderId, name: &str) -> String {
    format!("{RENDERS}/{render}/sidecars/{name}")
}

/// A still of the finished video.
pub fn thumbnail(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/thumbnail.jpg")
}

/// The manifest: what the output was made from.
pub fn manifest(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/manifest.json")
}

/// The terminal state: how the render ended.
pub fn state(render: &RenderId) -> String {
    format!("{RENDERS}/{render}/state.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_sort_as_the_steps_come() {
        let render: RenderId = "r1".parse().unwrap();
        let steps = [(Step::Plan, 1), (Step::Plan, 2), (Step::Audio, 1), (Step::Chunk(2), 1), (Step::Chunk(10), 1)];
        let keys: Vec<String> = steps.iter().map(|(step, attempt)| task_log(&render, *step, *attempt)).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[4], "renders/r1/log/3-chunk-000010-0001.jsonl");
    }

    #[test]
    fn segment_keys_parse_and_records_do_not() {
        let render: RenderId = "r1".parse().unwrap();
        let key = segment(&render, 12, 3, &ContentHash::of(b"x"), Format::Mp4);
        assert_eq!(parse_segment(&key), Some((12, 3)));
        assert_eq!(parse_segment(&segment_record(&key)), None);
        assert_eq!(parse_segment(&segment_thumbnail(&key)), None);
        assert_eq!(parse_segment("renders/r1/segments/1/1-abc.mp4"), None);
        assert_eq!(parse_segment("renders/r1/output.mp4"), None);
    }
}
