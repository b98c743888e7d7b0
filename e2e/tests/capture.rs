//! Frames read from the compositor's memory and frames read as screenshots are the same frames, and where the first
//! cannot be had the second stand in for it.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use hyperfarm_e2e::{Finished, Scene, binary, example, text};
use hyperfarm_proto::record::{CapturePath, Manifest};

/// Renders with the capture path named by `mode`, through the command `through` if there is one.
fn render(
    scene: &Scene,
    project: &str,
    name: &str,
    mode: &str,
    through: &[&str],
    args: &[&str],
) -> (Finished, Manifest) {
    let (video, manifest) = (scene.path(&format!("{name}.mp4")), scene.path(&format!("{name}.json")));
    let mut command = match through {
        [] => scene.command(&[]),
        [program, rest @ ..] => {
            let mut command = Command::new(program);
            command.args(rest).arg(binary()).env("TMPDIR", scene.path("tmp")).stdin(std::process::Stdio::null());
            command
        }
    };
    let project = example(project);
    let all = ["render", text(&project), "-o", text(&video), "--manifest", text(&manifest), "--json"];
    let output =
        command.args(all).args(args).env("HYPERFARM_CAPTURE", mode).env("HYPERFARM_LOG", "warn").output().unwrap();
    let finished = Finished::from(output);
    finished.json();
    (finished, serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap())
}

fn paths(manifest: &Manifest) -> Vec<CapturePath> {
    manifest.segments.iter().map(|segment| segment.path).collect()
}

fn assert_equal_on_both_paths(project: &str, args: &[&str]) {
    let scene = Scene::new();
    let (_, fast) = render(&scene, project, "fast", "auto", &[], args);
    let (_, slow) = render(&scene, project, "slow", "png", &[], args);
    assert!(paths(&fast).iter().all(|path| *path == CapturePath::Framebuffer), "{project}: {:?}", paths(&fast));
    assert!(paths(&slow).iter().all(|path| *path == CapturePath::Png), "{project}: {:?}", paths(&slow));
    let frames = fast.output.frames as usize;
    assert_eq!((fast.frame_hashes().count(), slow.frame_hashes().count()), (frames, frames), "{project}");
    let pairs = fast.frame_hashes().zip(slow.frame_hashes()).enumerate();
    let different: Vec<usize> = pairs.filter(|(_, (fast, slow))| fast != slow).map(|(frame, _)| frame).collect();
    assert!(different.is_empty(), "{project} {args:?}: frames {different:?} of {frames} differ");
    assert_eq!(fast.output.hash, slow.output.hash, "{project}: equal frames and other bytes");
}

/// Both renders of a test are cut alike: measured costs would cut them differently.
const ARGS: [&str; 4] = ["--fps", "2", "--chunk-frames", "6"];

#[test]
fn examples_are_equal_on_both_paths() {
    for project in
        ["kinetic-type", "css-only", "data-race", "line-drawing", "product-launch", "social-clip", "video-duck"]
    {
        assert_equal_on_both_paths(project, &ARGS);
    }
}

#[test]
fn examples_are_equal_on_both_paths_at_4k() {
    for project in ["kinetic-type", "video-duck"] {
        assert_equal_on_both_paths(project, &["--fps", "1", "--chunk-frames", "5", "--resolution", "4k"]);
    }
}

#[test]
fn without_the_right_to_read_it_screenshots_stand_in() {
    let scene = Scene::new();
    // Root without the capability may not read the memory of the user that Chrome runs as.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        return eprintln!("skipped: only root has the capability that the test takes away");
    }
    let through = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    let args = [&ARGS[..], &["--duration", "2"]].concat();
    let (finished, refused) = render(&scene, "css-only", "refused", "auto", &through, &args);
    assert!(paths(&refused).iter().all(|path| *path == CapturePath::Png), "{:?}", paths(&refused));
    assert!(finished.stderr.contains("CAP_SYS_PTRACE"), "{}", finished.stderr);
    let (_, wanted) = render(&scene, "css-only", "wanted", "png", &[], &args);
    assert!(refused.frame_hashes().eq(wanted.frame_hashes()));
}
