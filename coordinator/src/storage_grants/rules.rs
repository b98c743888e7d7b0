//! Which objects a task may touch: a pure function of the task, and of what its render says that it needs.

use std::collections::HashSet;

use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::task::{Step, TaskId};

/// What a render needs that its keys do not name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// The project, of a plan.
    pub(crate) bundle: Option<ContentHash>,
    /// Files that may be read by their hash: those of the render's plan; of a plan that is being made, packages of the
    /// runtime.
    pub(crate) blobs: HashSet<ContentHash>,
}

/// Whether attempt `attempt` at `task` may do what it wants.
pub(crate) fn permits(task: &TaskId, attempt: u32, want: &Want, inputs: &Inputs) -> bool {
    let key = want.key();
    if want.is_put() && key == keys::task_log(&task.render, task.step, attempt) {
        return true;
    }
    match task.step {
        Step::Plan => plan(&task.render, want, inputs),
        Step::Chunk(chunk) if want.is_put() => is_own_segment(&task.render, chunk, attempt, key),
        Step::Audio if want.is_put() => is_sound(&task.render, key) || is_named(&sidecars(&task.render), key),
        Step::Chunk(_) | Step::Audio => reads(want) && (key == keys::plan(&task.render) || is_input(key, inputs)),
        Step::Stitch => stitch(&task.render, want),
    }
}

/// A plan reads the request, the project and the farm's runtimes. It writes the draft, and files by their hash: whether
/// such a file is there already it may ask, but not what is in it.
fn plan(render: &RenderId, want: &Want, inputs: &Inputs) -> bool {
    let key = want.key();
    match want {
        Want::List { folder } => folder == keys::RUNTIME_VERSIONS,
        Want::Head { .. } if blob(key).is_some() => true,
        Want::Get { .. } | Want::Head { .. } => {
            key == keys::request(render)
                || inputs.bundle.as_ref().is_some_and(|hash| key == keys::bundle(hash))
                || key == keys::RUNTIME_DEFAULT
                || is_json_in(keys::RUNTIME_VERSIONS, key)
                || is_json_in("runtimes/packages", key)
                || is_input(key, inputs)
        }
        Want::Put { .. } | Want::Parts { .. } | Want::Complete { .. } | Want::Abort { .. } => {
            key == keys::draft(render) || key == keys::found_warnings(render) || blob(key).is_some()
        }
    }
}

/// A stitch reads the plan, the segments with their records, and the sound. It writes the output and what lies beside it.
fn stitch(render: &RenderId, want: &Want) -> bool {
    let key = want.key();
    if let Want::List { folder } = want {
        return *folder == keys::segments_prefix(render);
    }
    if want.is_put() {
        return key == keys::thumbnail(render)
            || key == keys::manifest(render)
            || is_file(&keys::render_prefix(render), "output", key)
            || is_named(&sidecars(render), key);
    }
    key == keys::plan(render) || is_sound(render, key) || is_segment(render, key)
}

fn reads(want: &Want) -> bool {
    matches!(want, Want::Get { .. } | Want::Head { .. })
}

/// The hash of a blob's key.
fn blob(key: &str) -> Option<ContentHash> {
    let hash: ContentHash = key.strip_prefix("blobs/")?.parse().ok()?;
    (keys::blob(&hash) == key).then_some(hash)
}

fn is_input(key: &str, inputs: &Inputs) -> bool {
    blob(key).is_some_and(|hash| inputs.blobs.contains(&hash))
}

fn sidecars(render: &RenderId) -> String {
    format!("{}/sidecars", keys::render_prefix(render))
}

/// Whether the key is `folder/NAME` with a plain name.
fn is_named(folder: &str, key: &str) -> bool {
    let name = key.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.is_some_and(|name| !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain))
}

/// Whether the key is `folder/NAME.json` with one name, of whatever characters versions have.
fn is_json_in(folder: &str, key: &str) -> bool {
    let name =
        key.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).and_then(|name| name.strip_suffix(".json"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Whether the key is `folder/name.EXTENSION`.
fn is_file(folder: &str, name: &str, key: &str) -> bool {
    let rest = key.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let extension = rest.and_then(|rest| rest.strip_prefix(name)).and_then(|rest| rest.strip_prefix('.'));
    extension.is_some_and(is_extension)
}

fn is_extension(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// Whether the key is of the mixed sound or its record.
fn is_sound(render: &RenderId, key: &str) -> bool {
    is_file(&keys::render_prefix(render), "audio", key)
}

/// Chunk and attempt of a key of a segment of `render`, its record or its still.
fn segment(render: &RenderId, key: &str) -> Option<(u32, u32)> {
    let own = [keys::segment_record(""), keys::segment_thumbnail("")];
    let beside = own.iter().find_map(|end| key.strip_suffix(end.as_str()));
    let segment = beside.filter(|key| keys::parse_segment(key).is_some()).unwrap_or(key);
    let (chunk, attempt) = keys::parse_segment(segment)?;
    let file = segment.strip_prefix(&format!("{}/{chunk}/{attempt}-", keys::segments_prefix(render)))?;
    let (hash, extension) = file.split_once('.')?;
    (hash.parse::<ContentHash>().is_ok() && is_extension(extension)).then_some((chunk, attempt))
}

fn is_segment(render: &RenderId, key: &str) -> bool {
    segment(render, key).is_some()
}

fn is_own_segment(render: &RenderId, chunk: u32, attempt: u32, key: &str) -> bool {
    segment(render, key) == Some((chunk, attempt))
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Format;

    use super::*;

    fn wants(key: &str) -> [(&'static str, Want); 5] {
        let key = key.to_owned();
        [
            ("get", Want::Get { key: key.clone() }),
            ("head", Want::Head { key: key.clone() }),
            ("put", Want::Put { key: key.clone(), bytes: Some(1) }),
            ("put", Want::Complete { key: key.clone(), upload: "u".to_owned(), parts: Vec::new() }),
            ("list", Want::List { folder: key }),
        ]
    }

    /// What attempt 2 at each step of `r1` may do with a key, as `plan chunk-3 audio stitch`: `r` reads, `h` reads the
    /// length, `w` writes, `l` lists.
    fn row(key: &str, inputs: &Inputs) -> String {
        let of = |step: Step| {
            let task = TaskId { render: "r1".parse().unwrap(), step };
            let mut found: Vec<&str> = Vec::new();
            for (operation, want) in wants(key) {
                if permits(&task, 2, &want, inputs) {
                    found.push(match operation {
                        "get" => "r",
                        "head" => "h",
                        "put" => "w",
                        _ => "l",
                    });
                }
            }
            found.dedup();
            if found.is_empty() { "-".to_owned() } else { found.concat() }
        };
        [Step::Plan, Step::Chunk(3), Step::Audio, Step::Stitch].map(of).join(" ")
    }

    #[test]
    fn each_step_may_touch_its_own_objects() {
        let (own, other): (RenderId, RenderId) = ("r1".parse().unwrap(), "r2".parse().unwrap());
        let hash = |text: &str| ContentHash::of(text.as_bytes());
        let (known, unknown, bundle) = (hash("a"), hash("b"), hash("c"));
        let inputs = Inputs { bundle: Some(bundle), blobs: HashSet::from([known]) };
        let segment = |render: &RenderId, chunk, attempt| keys::segment(render, chunk, attempt, &known, Format::Mp4);
        let table: Vec<(String, &str)> = vec![
            (keys::request(&own), "rh - - -"),
            (keys::bundle(&bundle), "rh - - -"),
            (keys::bundle(&known), "- - - -"),
            (keys::blob(&known), "rhw rh rh -"),
            (keys::blob(&unknown), "hw - - -"),
            (keys::RUNTIME_DEFAULT.to_owned(), "rh - - -"),
            (keys::runtime_version("0.7.48"), "rh - - -"),
            (keys::runtime_package(&known), "rh - - -"),
            (keys::RUNTIME_VERSIONS.to_owned(), "l - - -"),
            (keys::draft(&own), "w - - -"),
            (keys::found_warnings(&own), "w - - -"),
            (keys::plan(&own), "- rh rh rh"),
            (segment(&own, 3, 2), "- w - rh"),
            (segment(&own, 3, 1), "- - - rh"),
            (segment(&own, 4, 2), "- - - rh"),
            (keys::segment_record(&segment(&own, 3, 2)), "- w - rh"),
            (keys::segment_thumbnail(&segment(&own, 3, 2)), "- w - rh"),
            (keys::segments_prefix(&own), "- - - l"),
            (keys::audio(&own, hyperfarm_proto::spec::AudioCodec::Aac), "- - w rh"),
            (keys::audio_record(&own), "- - w rh"),
            (keys::output(&own, Format::Mp4), "- - - w"),
            (keys::sidecar(&own, "sound.wav"), "- - w w"),
            (keys::thumbnail(&own), "- - - w"),
            (keys::manifest(&own), "- - - w"),
            (keys::state(&own), "- - - -"),
            (keys::task_log(&own, Step::Plan, 2), "w - - -"),
            (keys::task_log(&own, Step::Chunk(3), 2), "- w - -"),
            (keys::task_log(&own, Step::Audio, 2), "- - w -"),
            (keys::task_log(&own, Step::Stitch, 2), "- - - w"),
            (keys::task_log(&own, Step::Chunk(3), 1), "- - - -"),
            (format!("{}/intake.json", keys::render_prefix(&own)), "- - - -"),
        ];
        for (key, expected) in &table {
            assert_eq!(row(key, &inputs), *expected, "{key}");
            // The same of another render is nobody's.
            if key.starts_with(&keys::render_prefix(&own)) {
                let foreign = key.replacen("/r1", "/r2", 1);
                assert_eq!(row(&foreign, &inputs), "- - - -", "{foreign}");
            }
        }
        for key in [
            "",
            "renders",
            "farm/link-secret",
            "keys/x.json",
            "spaces/default/renders/r1",
            "renders/r1/sidecars/../state.json",
            "renders/r1/sidecars/",
            "renders/r1/sidecars/.x",
            "renders/r1/output.mp4/x",
            "renders/r1/output.",
            "renders/r11/plan.bin",
            "runtimes/versions/../../farm/link-secret",
            "runtimes/versions/a/b.json",
            &format!("renders/r2/segments/renders/r1/segments/3/2-{known}.mp4"),
            &format!("renders/r1/segments/03/2-{known}.mp4"),
            &format!("renders/r1/segments/3/2-{known}.mp4/x"),
            &format!("blobs/{}", known.to_string().to_uppercase()),
        ] {
            assert_eq!(row(key, &inputs), "- - - -", "{key}");
        }
        assert_eq!(row(&segment(&other, 3, 2), &inputs), "- - - -");
    }
}
