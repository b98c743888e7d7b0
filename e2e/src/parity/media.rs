//! The videos, sounds and pictures that compositions of the suite use, made by the `ffmpeg` command from its own test sources.
//!
//! The command is there because the published CLI needs it; hyperfarm itself does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// A file that can be made.
pub struct Recipe {
    /// Its name below `media/`.
    pub name: &'static str,
    /// Sources, one `-f lavfi -i` each.
    sources: &'static [&'static str],
    /// What follows them, split at spaces.
    options: &'static str,
}

const fn recipe(name: &'static str, sources: &'static [&'static str], options: &'static str) -> Recipe {
    Recipe { name, sources, options }
}

/// Bursts of a tone at uneven distances, so that every shift of the envelope is seen.
const BEEPS: &str = "aevalsrc=exprs='0.6*sin(2*PI*440*t)*(between(t,0.1,0.2)+0.5*between(t,0.35,0.65)+between(t,0.9,0.95)+0.7*between(t,1.2,1.5)+between(t,1.8,1.85))|0.6*sin(2*PI*660*t)*(between(t,0.1,0.2)+0.5*between(t,0.35,0.65)+between(t,0.9,0.95)+0.7*between(t,1.2,1.5)+between(t,1.8,1.85))':sample_rate=48000:duration=2";
/// A pulse train rising in level and pitch, mono at 44.1 kHz.
const STEPS: &str = "aevalsrc=exprs='(0.15+0.1*floor(t*4))*sin(2*PI*(220+110*floor(t*4))*t)*lt(mod(t,0.25),0.15)':sample_rate=44100:duration=2";
/// Noise and a chord through a slow tremolo: every band has something for an effect to work on.
const BAND: &str = "aevalsrc=exprs='(0.12*sin(2*PI*110*t)+0.12*sin(2*PI*880*t)+0.12*sin(2*PI*5000*t)+0.1*(2*random(0)-1))*(0.25+0.75*lt(mod(t,0.4),0.22))':sample_rate=48000:duration=2";

/// Every file the suite can make. The counting picture is softened: its edges and pure colours are what 4:2:0 and two lossy encoders in
/// turn keep least, and the comparison is of places and times.
pub const RECIPES: &[Recipe] = &[
    recipe("count-30.mp4", &["testsrc2=size=320x180:rate=30:duration=2,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("count-25.mp4", &["testsrc2=size=320x180:rate=25:duration=2,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("count-60.mp4", &["testsrc2=size=320x180:rate=60:duration=2,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("count-2997.mp4", &["testsrc2=size=320x180:rate=30000/1001:duration=2,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("short.mp4", &["testsrc2=size=320x180:rate=30:duration=0.6,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("square.mp4", &["testsrc2=size=120x120:rate=30:duration=2,gblur=sigma=1.2,hue=s=0.6"], H264),
    recipe("bars.mp4", &["smptehdbars=size=320x180:rate=30:duration=2"], H264),
    recipe(
        "tones.mp4",
        &[TONES],
        "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -c:v libx264 -crf 8 -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv",
    ),
    recipe(
        "full-range.mp4",
        &["testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6"],
        "-vf scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p -c:v libx264 -crf 12 -colorspace smpte170m -color_range pc",
    ),
    recipe(
        "turned.mp4",
        &["testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6"],
        "-c:v libx264 -pix_fmt yuv420p -crf 14",
    ),
    recipe(
        "uneven.mp4",
        &["testsrc2=size=320x180:rate=30:duration=2,gblur=sigma=1.2,hue=s=0.6"],
        "-vf select='not(between(mod(n\\,10)\\,3\\,5))' -fps_mode vfr -c:v libx264 -pix_fmt yuv420p -crf 14",
    ),
    recipe(
        "talk.mp4",
        &["testsrc2=size=320x180:rate=30:duration=2,gblur=sigma=1.2,hue=s=0.6", BEEPS],
        "-c:v libx264 -pix_fmt yuv420p -crf 14 -c:a aac -b:a 192k",
    ),
    recipe(
        "hevc.mp4",
        &["testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6"],
        "-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p -crf 14 -tag:v hvc1",
    ),
    recipe(
        "av1.mp4",
        &["testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6"],
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv420p -crf 20 -b:v 0",
    ),
    recipe(
        "vp9.webm",
        &["testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6"],
        "-c:v libvpx-vp9 -pix_fmt yuv420p -crf 14 -b:v 0",
    ),
    recipe("vp8-alpha.webm", &[HOLE], "-vf format=yuva420p -c:v libvpx -auto-alt-ref 0 -crf 8 -b:v 4M"),
    recipe("vp9-alpha.webm", &[HOLE], "-vf format=yuva420p -c:v libvpx-vp9 -crf 14 -b:v 0"),
    recipe("prores.mov", &[HOLE], "-vf format=yuva444p10le -c:v prores_ks -profile:v 4444"),
    recipe("beeps.wav", &[BEEPS], "-c:a pcm_s16le"),
    recipe("beeps.mp3", &[BEEPS], "-c:a libmp3lame -b:a 192k"),
    recipe("beeps.m4a", &[BEEPS], "-c:a aac -b:a 192k"),
    recipe("beeps.ogg", &[BEEPS], "-c:a libvorbis -q:a 6"),
    recipe("steps.wav", &[STEPS], "-c:a pcm_s16le"),
    recipe("steps.flac", &[STEPS], "-c:a flac"),
    recipe("band.wav", &[BAND], "-c:a pcm_s16le"),
    recipe("photo.png", &[PHOTO], "-frames:v 1"),
    recipe("photo.jpg", &[PHOTO], "-frames:v 1 -q:v 2"),
    recipe("photo.webp", &[PHOTO], "-frames:v 1 -c:v libwebp -quality 90"),
    recipe("photo.avif", &[PHOTO], "-frames:v 1 -c:v libaom-av1 -still-picture 1 -crf 12 -pix_fmt yuv420p"),
    recipe("photo-b.jpg", &["testsrc=size=320x180:rate=1:duration=1"], "-frames:v 1 -q:v 2"),
    recipe("sprites.png", &["testsrc2=size=64x64:rate=8:duration=1,tile=8x1"], "-frames:v 1"),
    recipe("anim.gif", &["testsrc2=size=96x72:rate=10:duration=1"], "-loop 0"),
    recipe("tones.png", &[TONES], "-vf fps=20,scale=160:90 -f apng -plays 0"),
];

const H264: &str = "-c:v libx264 -pix_fmt yuv420p -crf 14";
const PHOTO: &str = "gradients=size=320x180:rate=1:duration=1:seed=7:n=5:c0=0x1b2a49:c1=0xf2a541:c2=0xd7263d:c3=0x2e86ab:c4=0xf6f5ae:type=radial,format=rgb24";
/// Four colours, a quarter of a second each.
const TONES: &str = "color=0xc83232:size=320x180:rate=60:duration=0.25[a];color=0x32c832:size=320x180:rate=60:duration=0.25[b];color=0x3232c8:size=320x180:rate=60:duration=0.25[c];color=0xc8c832:size=320x180:rate=60:duration=0.25[d];[a][b][c][d]concat=n=4,format=rgb24";
/// The counting picture, transparent outside a moving disc.
const HOLE: &str = "testsrc2=size=320x180:rate=30:duration=1,gblur=sigma=1.2,hue=s=0.6,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lt(hypot(X-60-200*T,Y-90),70)'";

impl Recipe {
    /// The made file, from `shelf` if it is there already.
    pub fn make(&self, shelf: &Path) -> anyhow::Result<PathBuf> {
        let recipe = format!("1\0{}\0{:?}\0{}", self.name, self.sources, self.options);
        let folder = shelf.join(&hex::encode(Sha256::digest(recipe))[..16]);
        let path = folder.join(self.name);
        if path.is_file() {
            return Ok(path);
        }
        std::fs::create_dir_all(&folder)?;
        let partial = folder.join(format!("partial-{}", self.name));
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
        for source in self.sources {
            command.args(["-f", "lavfi", "-i", source]);
        }
        command.args(self.options.split(' ')).args(["-map_metadata", "-1", "-fflags", "+bitexact"]);
        run(command.arg(&partial), self.name)?;
        if self.name == "turned.mp4" {
            turn(&partial)?;
        }
        std::fs::rename(&partial, &path)?;
        Ok(path)
    }
}

/// Says in the container that the pictures are to be shown turned by a quarter clockwise, as telephones do: the matrix of
/// the track's header. The command's option for it differs between versions.
fn turn(path: &Path) -> anyhow::Result<()> {
    let mut bytes = std::fs::read(path)?;
    let header = bytes.windows(4).position(|word| word == b"tkhd").context("an mp4 without a track's header")?;
    // Behind the name, in version 0: version and flags, times, track, length, layer, volume.
    let matrix = bytes.get_mut(header + 4 + 40..header + 4 + 40 + 36).context("a track's header that is cut off")?;
    let one = 1_i32 << 16;
    let turned = [0, one, 0, -one, 0, 0, 180 * one, 0, 1 << 30];
    for (place, value) in matrix.chunks_exact_mut(4).zip(turned) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes)?;
    Ok(())
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let output = command.output().context("the ffmpeg command does not start: scripts/setup.sh --bench installs it")?;
    if !output.status.success() {
        bail!("ffmpeg did not make {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
