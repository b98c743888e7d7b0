//! Videos in a composition: the picture that shows at each frame is the one that the contract's formula names, whatever
//! the source's rate, trim, speed, loop or nesting, and wherever the chunks are cut.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use ffmpeg_next::format::Pixel;
use ffmpeg_next::{color, color::TransferCharacteristic};
use hyperfarm_e2e::footage::{Footage, number_in};
use hyperfarm_e2e::{Scene, pictures};
use hyperfarm_media::{Picture, VideoSource, decode_video};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;

const FPS: f64 = 30.0;
const FRAMES: u64 = 64;
const TILE: (u32, u32) = (64, 32);
const COLUMNS: u32 = 10;
/// Ticks of the source whose pictures last differently long.
const UNEVEN: (i32, i32) = (1, 600);

/// One video of the matrix.
struct Tile {
    source: usize,
    /// Composition second at which it starts, its host's start included.
    start: f64,
    trim: f64,
    speed: f64,
    looped: bool,
    nested: bool,
}

fn sources() -> Vec<(&'static str, Footage)> {
    // From a phone: 30 a second that stumbles, stops and hurries.
    let mut uneven = vec![0];
    for step in [20, 20, 21, 19, 20, 20, 60, 20, 10, 10, 20, 20, 100, 5, 5, 20, 40].iter().cycle().take(59) {
        uneven.push(uneven.last().unwrap() + step);
    }
    let webm = Footage {
        encoder: "libvpx-vp9",
        options: &[("deadline", "realtime"), ("cpu-used", "8"), ("crf", "20"), ("b", "0")],
        ..Footage::h264(25, 1, 50)
    };
    vec![
        ("film.mp4", Footage::h264(24_000, 1001, 48)),
        ("pal.mp4", Footage::h264(25, 1, 50)),
        ("ntsc.mp4", Footage::h264(30_000, 1001, 60)),
        ("fast.mp4", Footage::h264(60, 1, 120)),
        ("uneven.mp4", Footage::with_times(uneven)),
        ("vp9.webm", webm),
    ]
}

fn tiles() -> Vec<Tile> {
    let mut tiles = Vec::new();
    for source in 0..6 {
        for (at, speed) in [0.5, 1.0, 1.37, 2.0].into_iter().enumerate() {
            let start = [0.0, 0.1, 0.25, 1.0 / 3.0][at];
            tiles.push(Tile { source, start, trim: 0.0, speed, looped: false, nested: false });
            tiles.push(Tile { source, start, trim: 0.4, speed, looped: false, nested: false });
        }
        tiles.push(Tile { source, start: 0.0, trim: 1.3, speed: 1.0, looped: true, nested: false });
        tiles.push(Tile { source, start: 0.2, trim: 1.5, speed: 1.37, looped: true, nested: true });
        tiles.push(Tile { source, start: 0.3, trim: 0.2, speed: 1.0, looped: false, nested: true });
    }
    tiles
}

fn place(at: usize) -> (u32, u32) {
    (at as u32 % COLUMNS * TILE.0, at as u32 / COLUMNS * TILE.1)
}

fn write_project(scene: &Scene) -> PathBuf {
    let (sources, tiles) = (sources(), tiles());
    let (mut outer, mut inner) = (String::new(), String::new());
    for (at, tile) in tiles.iter().enumerate() {
        let (left, top) = place(at);
        let start = if tile.nested { tile.start - 0.1 } else { tile.start };
        let list = if tile.nested { &mut inner } else { &mut outer };
        // Ids of the nested composition are taken outside already.
        let id = if tile.nested { at % 7 } else { at };
        list.push_str(&format!(
            "<video id=\"v{id}\" class=\"clip\" src=\"{}\" muted data-start=\"{start}\" data-duration=\"{}\" data-media-start=\"{}\" \
             data-playback-rate=\"{}\" data-track-index=\"{at}\" {} style=\"left:{left}px;top:{top}px\"></video>",
            sources[tile.source].0,
            5.0 - start,
            tile.trim,
            tile.speed,
            if tile.looped { "loop" } else { "" },
        ));
    }
    let height = place(tiles.len() - 1).1 + TILE.1;
    let width = COLUMNS * TILE.0;
    let style = format!(
        "<style>body{{margin:0;background:#888}}video{{position:absolute;width:{}px;height:{}px;object-fit:fill}}\
         .all{{position:absolute;inset:0}}</style>",
        TILE.0, TILE.1
    );
    let seconds = FRAMES as f64 / FPS;
    let page = format!(
        "<!doctype html><html><head>{style}</head><body><div class=\"all\" data-composition-id=\"main\" data-width=\"{width}\" \
         data-height=\"{height}\" data-start=\"0\" data-duration=\"{seconds}\" data-no-timeline>{outer}<div class=\"all\" \
         data-composition-id=\"inner\" data-composition-src=\"inner.html\" data-start=\"0.1\" data-duration=\"6\" \
         data-track-index=\"99\" data-no-timeline></div></div></body></html>"
    );
    let nested = format!(
        "<template id=\"inner-template\"><div class=\"all\" data-composition-id=\"inner\" data-width=\"{width}\" \
         data-height=\"{height}\" data-no-timeline>{inner}</div></template>"
    );
    let project = scene.project("matrix", &page);
    scene.write("matrix/inner.html", nested);
    for (name, footage) in &sources {
        footage.write(&project.join(name));
    }
    project
}

/// The number that `tile` shows at `frame`, from the contract's words.
fn expected(tile: &Tile, source: &Footage, playable: f64, half_tick: f64, frame: u64) -> Option<u64> {
    let since = frame as f64 / FPS - tile.start;
    if since < -1e-9 {
        return None;
    }
    let mut position = since.max(0.0) * tile.speed;
    let length = playable - tile.trim;
    if tile.looped && position >= length - 1e-12 {
        position %= length;
    }
    let frames = (length * 1e6).round() / 1e6 * FPS;
    // Uneven pictures have one for a remainder, others are as many as fit best.
    let last = if source.time_base == UNEVEN { (frames - 1e-9).ceil() } else { (frames + 0.5).floor() } - 1.0;
    let index = (position * FPS + 1e-9).floor().min(last);
    let at = tile.trim + index / FPS;
    let begun = |number: &usize| source.start_of(*number) - half_tick <= at + 1e-9;
    Some((0..source.times.len()).take_while(begun).last().unwrap_or(0) as u64)
}

/// Cases in which `frames` show another number than expected, and how many cases there were.
fn wrong_numbers(project: &Path, frames: &[Picture]) -> (Vec<String>, usize) {
    let sources = sources();
    let about: Vec<(f64, f64)> = sources
        .iter()
        .map(|(name, _)| {
            let video = hyperfarm_media::probe(&project.join(name)).unwrap().video.unwrap();
            (video.duration.unwrap(), f64::from(video.time_base.0) / f64::from(video.time_base.1) / 2.0)
        })
        .collect();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for (at, tile) in tiles().iter().enumerate() {
        let (playable, half_tick) = about[tile.source];
        let got: Vec<Option<u64>> = frames.iter().map(|picture| number_in(picture, place(at), TILE)).collect();
        let want: Vec<Option<u64>> = (0..frames.len() as u64)
            .map(|frame| expected(tile, &sources[tile.source].1, playable, half_tick, frame))
            .collect();
        cases += got.len();
        let differ: Vec<usize> = (0..got.len()).filter(|frame| got[*frame] != want[*frame]).collect();
        if let Some(first) = differ.first() {
            wrong.push(format!(
                "tile {at} ({} start {} trim {} speed {} loop {} nested {}): {} frames, first {first}: {:?} instead of {:?}",
                sources[tile.source].0, tile.start, tile.trim, tile.speed, tile.looped, tile.nested, differ.len(),
                got[*first], want[*first]
            ));
        }
    }
    (wrong, cases)
}

#[test]
fn every_frame_shows_the_picture_that_the_formula_names_in_chunks_of_any_size() {
    let scene = Scene::new();
    let project = write_project(&scene);
    let mut hashes = Vec::new();
    for chunk in ["240", "7"] {
        let name = format!("chunks-{chunk}");
        let args = ["--fps", "30", "--quality", "high", "--chunk-frames", chunk];
        let (video, manifest) = scene.render(&project, &name, &args);
        assert_eq!(manifest.output.frames, FRAMES);
        let (wrong, cases) = wrong_numbers(&project, &pictures::pictures(&video));
        assert!(wrong.is_empty(), "chunks of {chunk}: {} of {cases}\n{}", wrong.len(), wrong.join("\n"));
        hashes.push(manifest.frame_hashes().map(|hash| format!("{hash:?}")).collect::<Vec<_>>());
    }
    assert_eq!(hashes[0], hashes[1], "chunks of 7");
}

#[test]
fn scripts_draw_the_frames_picture_and_animated_images_keep_composition_time() {
    let scene = Scene::new();
    let project = scene.project(
        "drawn",
        r#"<!doctype html><html><head><style>body{margin:0;background:#888}
#flat,#gl,#moving,#loose{position:absolute;width:128px;height:64px;left:0;top:0}
#gl{left:128px}#moving{top:64px}#loose{left:128px;top:64px}#v{position:absolute;left:0;top:128px;opacity:0}</style></head><body>
<div data-composition-id="main" data-width="256" data-height="192" data-start="0" data-duration="1" data-no-timeline>
<video id="v" class="clip" src="a.mp4" muted data-start="0" data-duration="1"></video>
<canvas id="flat" width="128" height="64"></canvas><canvas id="gl" width="128" height="64"></canvas>
<img id="moving" src="moving.gif"><video id="loose" src="a.mp4" muted autoplay></video></div>
<script>
const video = document.getElementById("v"), flat = document.getElementById("flat").getContext("2d");
const gl = document.getElementById("gl").getContext("webgl", { preserveDrawingBuffer: true });
const shader = (kind, text) => { const made = gl.createShader(kind); gl.shaderSource(made, text); gl.compileShader(made); return made; };
const program = gl.createProgram();
gl.attachShader(program, shader(gl.VERTEX_SHADER, "attribute vec2 p;varying vec2 t;void main(){t=vec2(p.x+1.,1.-p.y)/2.;gl_Position=vec4(p,0.,1.);}"));
gl.attachShader(program, shader(gl.FRAGMENT_SHADER, "precision mediump float;uniform sampler2D s;varying vec2 t;void main(){gl_FragColor=texture2D(s,t);}"));
gl.linkProgram(program); gl.useProgram(program);
gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
gl.enableVertexAttribArray(0); gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
for (const name of ["TEXTURE_MIN_FILTER", "TEXTURE_MAG_FILTER"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.LINEAR);
for (const name of ["TEXTURE_WRAP_S", "TEXTURE_WRAP_T"]) gl.texParameteri(gl.TEXTURE_2D, gl[name], gl.CLAMP_TO_EDGE);
const draw = () => {
  requestAnimationFrame(draw);
  if (video.readyState < 2) return;
  flat.drawImage(video, 0, 0, 128, 64);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, video);
  gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
};
requestAnimationFrame(draw);
</script></body></html>"#,
    );
    Footage::h264(25, 1, 30).write(&project.join("a.mp4"));
    let gif = Footage { encoder: "gif", pixel: Pixel::RGB8, options: &[], ..Footage::h264(25, 1, 20) };
    gif.write(&project.join("moving.gif"));
    let (video, _) = scene.render(&project, "drawn", &["--fps", "25", "--quality", "high", "--chunk-frames", "10"]);
    let size = (128, 64);
    for (frame, picture) in pictures::pictures(&video).iter().enumerate() {
        let seen = [(0, 0), (128, 0), (0, 64), (128, 64)].map(|place| number_in(picture, place, size));
        let frame = frame as u64;
        assert_eq!(seen, [frame, frame, frame % 20, frame].map(Some), "frame {frame}: 2D, WebGL, GIF, untimed video");
    }
}

/// For looking at another renderer: writes the project to the folder in MATRIX_PROJECT, and says what the video in
/// MATRIX_VIDEO shows of it.
#[test]
#[ignore = "compares with a video from elsewhere"]
#[allow(clippy::print_stdout)]
fn another_renderers_numbers() {
    let scene = Scene::new();
    let project = write_project(&scene);
    if let Ok(folder) = std::env::var("MATRIX_PROJECT") {
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(&project).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, Path::new(&folder).join(path.file_name().unwrap())).unwrap();
        }
    }
    if let Ok(video) = std::env::var("MATRIX_VIDEO") {
        let (wrong, cases) = wrong_numbers(&project, &pictures::pictures(Path::new(&video)));
        println!("{cases} cases\n{}", wrong.join("\n"));
    }
}

fn timing() -> MediaTiming {
    MediaTiming { start: 0.0, end: 100.0, media_start: 0.0, rate: 1.0, looped: false }
}

fn rate(fps: u32) -> FrameRate {
    FrameRate::new(fps, 1).unwrap()
}

/// File name, encoder, pixel format, size and the encoder's options.
type Case = (&'static str, &'static str, Pixel, (u32, u32), &'static [(&'static str, &'static str)]);

#[test]
fn every_codec_is_decoded_from_any_frame() {
    let scene = Scene::new();
    let x265: &[_] = &[("preset", "ultrafast"), ("x265-params", "log-level=none:keyint=12")];
    let quick: &[_] = &[("deadline", "realtime"), ("cpu-used", "8"), ("crf", "20"), ("b", "1M")];
    let cases: &[Case] = &[
        ("h264.mp4", "libx264", Pixel::YUV420P, (128, 64), &[("crf", "16")]),
        ("h264-444.mkv", "libx264", Pixel::YUV444P, (129, 65), &[("crf", "16")]),
        ("hevc.mp4", "libx265", Pixel::YUV420P, (128, 64), x265),
        ("hevc10.mp4", "libx265", Pixel::YUV420P10LE, (128, 64), x265),
        ("vp8.webm", "libvpx", Pixel::YUV420P, (128, 64), quick),
        (
            "vp8a.webm",
            "libvpx",
            Pixel::YUVA420P,
            (128, 64),
            &[("deadline", "realtime"), ("auto-alt-ref", "0"), ("b", "1M")],
        ),
        ("vp9.webm", "libvpx-vp9", Pixel::YUV420P, (129, 65), quick),
        ("vp9a.webm", "libvpx-vp9", Pixel::YUVA420P, (128, 64), quick),
        (
            "av1.mp4",
            "libaom-av1",
            Pixel::YUV420P,
            (128, 64),
            &[("cpu-used", "8"), ("usage", "realtime"), ("crf", "20")],
        ),
        ("prores422.mov", "prores_ks", Pixel::YUV422P10LE, (128, 64), &[("profile", "hq")]),
        ("prores4444.mov", "prores_ks", Pixel::YUVA444P10LE, (128, 64), &[("profile", "4444")]),
        ("mpeg4.mp4", "mpeg4", Pixel::YUV420P, (128, 64), &[("qscale", "2"), ("bf", "2")]),
        ("mjpeg.avi", "mjpeg", Pixel::YUVJ422P, (128, 64), &[]),
        ("moving.apng", "apng", Pixel::RGBA, (128, 64), &[]),
        ("moving.gif", "gif", Pixel::RGB8, (128, 64), &[]),
    ];
    for (name, encoder, pixel, size, options) in cases {
        let path = scene.path(name);
        let footage = Footage { encoder, pixel: *pixel, size: *size, options: &[], ..Footage::h264(25, 1, 20) };
        let footage = Footage { options: Box::leak(options.to_vec().into_boxed_slice()), ..footage };
        footage.write(&path);
        let info = hyperfarm_media::probe(&path).unwrap().video.unwrap();
        assert!((info.duration.unwrap() - 0.8).abs() < 0.05, "{name}: {:?}", info.duration);
        let mut source = VideoSource::open(&path, &timing(), rate(25)).unwrap();
        let see_through = [Pixel::YUVA420P, Pixel::YUVA444P10LE, Pixel::RGBA].contains(pixel);
        for frame in [17, 3, 4, 5, 0, 19, 12, 99] {
            let picture = source.picture(frame).unwrap();
            assert_eq!((picture.size.width, picture.size.height), *size, "{name}");
            let number = number_in(&picture, (0, 0), *size);
            assert_eq!(number, Some(frame.min(19)), "{name} at {frame}");
            if see_through {
                assert!(source.has_alpha(), "{name}");
                let alpha = picture.pixel(size.0 - 4, 4).unwrap()[3];
                assert!(alpha.abs_diff(128) < 8, "{name}: {alpha}");
            }
        }
    }
}

#[test]
fn bright_footage_is_tone_mapped() {
    let scene = Scene::new();
    for (name, transfer) in [("pq", TransferCharacteristic::SMPTE2084), ("hlg", TransferCharacteristic::ARIB_STD_B67)] {
        let color = Some((color::Space::BT2020NCL, transfer, color::Range::MPEG));
        let footage = Footage {
            encoder: "libx265",
            pixel: Pixel::YUV420P10LE,
            options: &[("preset", "ultrafast"), ("x265-params", "log-level=none")],
            color,
            ..Footage::h264(25, 1, 3)
        };
        let path = scene.path(&format!("{name}.mp4"));
        footage.write(&path);
        let info = hyperfarm_media::probe(&path).unwrap().video.unwrap();
        assert_eq!(info.color.matrix, "bt2020nc");
        let mut count = 0;
        decode_video(&path, &mut |number, picture| {
            assert_eq!(number_in(picture, (0, 0), (128, 64)), Some(number), "{name}");
            // The last bit of a small number is white below.
            let white = picture.pixel(120, 48).unwrap();
            assert!(white[..3].iter().all(|level| *level > 230), "{name}: {white:?}");
            count += 1;
            true
        })
        .unwrap();
        assert_eq!(count, 3);
    }
}
