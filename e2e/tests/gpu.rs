//! GPU classes from end to end, on Mesa's software Vulkan device (`mesa-vulkan-drivers`). Where it is missing the tests
//! are skipped; with `HYPERFARM_TEST_REQUIRE_GPU=1` they fail.

#![allow(clippy::print_stderr, clippy::unwrap_used)]

use hyperfarm_e2e::{Finished, Scene, text};
use hyperfarm_proto::plan::CaptureKind;
use hyperfarm_proto::record::{CapturePath, Manifest};
use hyperfarm_testing::Requirement;

/// A shader, a box that turns and throws a shadow, a blurred one, and letters.
const PAGE: &str = r##"<!doctype html><html><head><style>
body { margin: 0; background: #10243d; overflow: hidden; font: 700 30px sans-serif; color: #cfe8ff }
canvas { position: absolute; left: 160px; top: 10px }
.box { position: absolute; width: 60px; height: 60px; border-radius: 14px; background: linear-gradient(45deg, #ffb347, #e0407b);
  box-shadow: 0 8px 20px #000a }
#blurred { top: 100px; filter: blur(3px) }
</style></head><body>
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="1.2">
<canvas id="c" width="150" height="120"></canvas><div class="box" id="turning"></div><div class="box" id="blurred"></div>
<div id="letters" style="position:absolute;left:170px;top:135px">Letters</div></div>
<script>
const gl = document.getElementById("c").getContext("webgl", { preserveDrawingBuffer: true });
const program = gl.createProgram();
for (const [type, source] of [
  [gl.VERTEX_SHADER, "attribute vec2 p; varying vec2 v; void main() { v = p; gl_Position = vec4(p, 0.0, 1.0); }"],
  [gl.FRAGMENT_SHADER, `precision highp float; varying vec2 v; uniform float t;
    void main() { gl_FragColor = vec4(0.5 + 0.5 * sin(vec3(v.x * 9.0 + t, v.y * 7.0 - t, length(v) * 12.0 + t)), 1.0); }`],
]) {
  const shader = gl.createShader(type);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  gl.attachShader(program, shader);
}
gl.linkProgram(program);
gl.useProgram(program);
gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 3, -1, -1, 3]), gl.STATIC_DRAW);
gl.enableVertexAttribArray(0);
gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
const place = gl.getUniformLocation(program, "t");
const clock = { t: 0 };
const timeline = gsap.timeline({ paused: true });
timeline.to(clock, { t: 6, duration: 1.2, ease: "none", onUpdate() {
  gl.uniform1f(place, clock.t);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
} }, 0);
timeline.fromTo("#turning", { x: 10, y: 15 }, { x: 90, y: 40, rotation: 200, duration: 1.2, ease: "sine.inOut" }, 0);
timeline.fromTo("#blurred", { x: 0 }, { x: 200, scale: 1.4, duration: 1.2 }, 0);
timeline.fromTo("#letters", { y: 0 }, { y: -20, duration: 1.2 }, 0);
window.__timelines = { main: timeline };
</script></body></html>"##;

/// Renders the page with `settings` in the environment.
fn render(scene: &Scene, name: &str, args: &[&str], settings: &[(&str, &str)]) -> (Finished, Option<Manifest>) {
    let project = scene.project("page", PAGE);
    let (video, manifest) = (scene.path(&format!("{name}.mp4")), scene.path(&format!("{name}.json")));
    let all = ["render", text(&project), "-o", text(&video), "--manifest", text(&manifest), "--json", "--fps", "15"];
    let mut command = scene.command(&all);
    command.args(args).envs(settings.iter().copied()).env("HYPERFARM_LOG", "info");
    let finished = Finished::from(command.output().unwrap());
    let manifest = std::fs::read(manifest).ok().map(|json| serde_json::from_slice(&json).unwrap());
    (finished, manifest)
}

/// The captured frames of one chunk and of three are equal, and all come from the class that was asked for.
fn chunks_are_equal(part: &str, path: CapturePath) {
    let scene = Scene::new();
    let settings = [("HYPERFARM_GPU", part), ("HYPERFARM_GPU_SOFTWARE", "allow")];
    let [whole, cut] = [("whole", "100"), ("cut", "6")].map(|(name, frames)| {
        let (finished, manifest) = render(&scene, name, &["--chunk-frames", frames], &settings);
        if finished.code != Some(0) && finished.stderr.contains("no GPU draws here") {
            Requirement::Gpu.skip(format!("no GPU draws here, install mesa-vulkan-drivers: {}", finished.stderr));
            return None;
        }
        finished.json();
        let manifest = manifest.unwrap();
        assert_eq!(manifest.class.kind, CaptureKind::Gpu);
        assert!(manifest.class.device.contains("llvmpipe"), "{}", manifest.class);
        assert!(manifest.segments.iter().all(|segment| segment.path == path), "{part} by another path");
        Some(manifest)
    });
    let (Some(whole), Some(cut)) = (whole, cut) else { return };
    assert_eq!((whole.segments.len(), cut.segments.len(), whole.output.frames), (1, 3, 18));
    let pairs = whole.frame_hashes().zip(cut.frame_hashes()).enumerate();
    let different: Vec<usize> = pairs.filter(|(_, (one, other))| one != other).map(|(frame, _)| frame).collect();
    assert!(different.is_empty(), "{part}: frames {different:?} differ");
    let kinds: std::collections::HashSet<_> = whole.frame_hashes().collect();
    assert_eq!(kinds.len(), 18, "every frame shows something else");
}

#[test]
fn chunks_are_equal_where_a_gpu_draws_webgl() {
    chunks_are_equal("webgl", CapturePath::Framebuffer);
}

#[test]
fn chunks_are_equal_where_a_gpu_draws_the_page() {
    chunks_are_equal("page", CapturePath::Png);
}

#[test]
fn what_a_machine_has_not_is_not_promised() {
    let scene = Scene::new();
    // The interface that no machine of the tests has a card behind; with a card there is nothing to see here.
    for (settings, told) in [
        ([("HYPERFARM_GPU", "page"), ("HYPERFARM_GPU_INTERFACE", "egl")], "HYPERFARM_GPU to auto or off"),
        ([("HYPERFARM_ENCODER", "hardware"), ("HYPERFARM_GPU", "off")], "HYPERFARM_ENCODER to auto or software"),
        ([("HYPERFARM_ENCODER", "card"), ("HYPERFARM_GPU", "off")], "software, auto or hardware"),
    ] {
        let (finished, _) = render(&scene, "refused", &[], &settings);
        if finished.code == Some(0) {
            eprintln!("this machine has it: {settings:?}");
            continue;
        }
        assert!(finished.stderr.contains(told), "{settings:?}: {}", finished.stderr);
    }
    // What may be left out is, and the log says so.
    let (finished, manifest) =
        render(&scene, "auto", &["--duration", "0.2"], &[("HYPERFARM_GPU", "auto"), ("HYPERFARM_ENCODER", "auto")]);
    finished.json();
    let class = manifest.unwrap().class;
    let told =
        |what: &str, none: &str| assert!(finished.stderr.contains(none), "no word of {what}: {}", finished.stderr);
    match class.kind {
        CaptureKind::Cpu => told("the GPU", "no GPU draws here"),
        CaptureKind::Gpu => assert!(!class.device.contains("llvmpipe"), "{class}"),
    }
    if class.encoder.is_empty() {
        told("the encoder", "no encoder of a GPU opens here");
    }
}
