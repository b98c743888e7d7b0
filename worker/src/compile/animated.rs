//! Animated images. The browser plays them by the wall clock, so each GIF and PNG is replaced by a `<video>` whose
//! pictures the farm decodes by the time of the composition, as the HyperFrames compiler does with GIFs. Other kinds,
//! and images that are not in an `<img src>`, are decoded in the page (`host/images.js`).
//!
//! The video has the attributes of the image. An endless animation loops. The pictures of one that plays a few times
//! are repeated in its file; its last picture stays until the end of the clip.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use dom_query::{Document, Selection};

use crate::error::ProjectError;
use crate::urls::decode_path;

/// Most repetitions of a GIF's pictures in its file.
const MAX_PLAYS: usize = 1000;

/// Most bytes of a GIF with repeated pictures, and of all of a page together.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A page without animated images, with the files that replace them.
#[derive(Debug)]
pub(super) struct ReplacedPage {
    pub(super) html: String,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// Replaces the animated images of the page at `entry`. `read` returns the bytes of a file of the project.
pub(super) fn replace(
    html: String,
    entry: &str,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<ReplacedPage, ProjectError> {
    let mut page = ReplacedPage { html, files: Vec::new() };
    if ![".gif", ".png", ".apng"].iter().any(|extension| page.html.contains(extension)) {
        return Ok(page);
    }
    let document = Document::from(page.html.as_str());
    let longest = document
        .select("[data-composition-id][data-duration]")
        .iter()
        .filter_map(|host| host.attr("data-duration")?.trim().parse::<f64>().ok())
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0)
        .reduce(f64::max);
    let ids: HashSet<String> =
        document.select("[id]").iter().filter_map(|named| Some(named.attr("id")?.to_string())).collect();
    let mut number = 0;
    let mut changed = false;
    let mut files: HashMap<String, ImageFile> = HashMap::new();
    // Paths of GIFs with repeated pictures, by the path of the GIF and the repetitions.
    let mut repeated_gifs: HashMap<(String, usize), Option<String>> = HashMap::new();
    let mut repeated_bytes = 0;
    for image in document.select("img[src]").iter() {
        let source = image.attr("src").unwrap_or_default().trim().to_owned();
        let Some(path) = project_path(entry, &source) else { continue };
        let image_file = files
            .entry(path.clone())
            .or_insert_with(|| read(&path).map_or(ImageFile::Missing, |bytes| ImageFile::of(&bytes)));
        let animation = match image_file {
            ImageFile::Missing | ImageFile::Still => continue,
            ImageFile::Animated(animation) => animation,
        };
        let endless = loop_override(&image).unwrap_or(animation.plays.is_none());
        let plays = if endless || loop_override(&image).is_some() { 1 } else { animation.plays.unwrap_or(1) };
        let repeated = match repeated_gifs.entry((path, plays)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let repeated = read(&unknown.key().0).and_then(|bytes| animation.repeated(&bytes, plays));
                repeated_bytes += repeated.as_ref().map_or(0, Vec::len);
                if repeated_bytes > MAX_BYTES {
                    let text = format!(
                        "with {source} the animated images that play several times have more than {MAX_BYTES} bytes; let them play \
                         once or endlessly (data-loop), or use videos"
                    );
                    return Err(ProjectError::TooComplex(text));
                }
                let file = repeated.map(|bytes| {
                    let path = format!("_animated/{}.gif", hyperfarm_proto::id::ContentHash::of(&bytes).short());
                    page.files.push((path.clone(), bytes));
                    path
                });
                unknown.insert(file).clone()
            }
        };
        let source = repeated.map_or(source, |path| format!("/{path}"));
        let id = image.attr("id").map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).unwrap_or_else(|| {
            number += 1;
            while ids.contains(&format!("hf-animated-{number}")) {
                number += 1;
            }
            format!("hf-animated-{number}")
        });
        image.replace_with_html(video(&image, &id, &source, endless, longest));
        changed = true;
    }
    if changed {
        page.html = document.html().to_string();
    }
    Ok(page)
}

/// The tag of a video with the attributes of `image`.
fn video(image: &Selection<'_>, id: &str, source: &str, endless: bool, longest: Option<f64>) -> String {
    let mut tag = String::from("<video");
    let mut set = |name: &str, value: &str| {
        tag.push_str(&format!(" {name}=\"{}\"", value.replace('&', "&amp;").replace('"', "&quot;")));
    };
    for attribute in image.attrs() {
        let name = attribute.name.local.as_ref();
        if !["src", "srcset", "loop", "id", "loading", "decoding"].contains(&name) {
            set(name, &attribute.value);
        }
    }
    set("id", id);
    set("src", source);
    for name in ["muted", "playsinline", "data-hf-prepared-gif"] {
        set(name, "");
    }
    set("data-has-audio", "false");
    if endless {
        set("loop", "");
    }
    let start = image.attr("data-start");
    if start.is_none() {
        set("data-start", "0");
    }
    if !image.has_attr("data-duration") && !image.has_attr("data-end") {
        // An image is shown until the end of the composition, and so is its last picture.
        let start_seconds = start.map_or(Some(0.0), |start| start.trim().parse::<f64>().ok());
        if let Some(seconds) = longest.zip(start_seconds).map(|(longest, start)| longest - start.max(0.0))
            && seconds > 0.0
        {
            set("data-duration", &seconds.to_string());
        }
    }
    tag.push_str("></video>");
    tag
}

/// The value of `data-loop`.
fn loop_override(image: &Selection<'_>) -> Option<bool> {
    match image.attr("data-loop")?.trim().to_ascii_lowercase().as_str() {
        "" | "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// The path in the project of `source` in the page at `entry`; `None` for remote files.
fn project_path(entry: &str, source: &str) -> Option<String> {
    if source.contains(':') || source.starts_with("//") {
        return None;
    }
    let file = decode_path(source.split(['?', '#']).next()?)?;
    let folder = match (source.starts_with('/'), entry.rsplit_once('/')) {
        (false, Some((folder, _))) => folder,
        _ => "",
    };
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What a file of an image is.
#[derive(Debug)]
enum ImageFile {
    Missing,
    Still,
    Animated(Animation),
}

impl ImageFile {
    fn of(bytes: &[u8]) -> Self {
        Animation::of(bytes).map_or(Self::Still, Self::Animated)
    }
}

/// An animation of several pictures.
#[derive(Debug, PartialEq, Eq)]
struct Animation {
    /// Number of times that it plays; `None` is endless.
    plays: Option<usize>,
    /// Range of a GIF's pictures in its file.
    pictures: Option<std::ops::Range<usize>>,
}

impl Animation {
    /// The animation in a GIF or PNG file; `None` for a still picture and for other files.
    fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"GIF8") { gif(bytes) } else { apng(bytes) }
    }

    /// The GIF with its pictures `plays` times, if that is more than once.
    fn repeated(&self, bytes: &[u8], plays: usize) -> Option<Vec<u8>> {
        let pictures = self.pictures.clone()?;
        let plays = plays.min(MAX_PLAYS).min(MAX_BYTES / pictures.len().max(1));
        if plays < 2 {
            return None;
        }
        let body = bytes.get(pictures.clone())?;
        let mut whole = bytes.get(..pictures.start)?.to_vec();
        whole.extend(body.repeat(plays));
        whole.push(0x3b);
        Some(whole)
    }
}

/// Reads the blocks of a GIF.
fn gif(bytes: &[u8]) -> Option<Animation> {
    let table = |packed: u8| if packed & 0x80 != 0 { 3 << ((packed & 7) + 1) } else { 0 };
    let start = 13 + table(*bytes.get(10)?);
    let (mut at, mut count, mut plays) = (start, 0, Some(1));
    let skip_blocks = |mut at: usize| loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    };
    loop {
        match *bytes.get(at)? {
            0x21 => {
                let label = *bytes.get(at + 1)?;
                if label == 0xff && matches!(bytes.get(at + 3..at + 14)?, b"NETSCAPE2.0" | b"ANIMEXTS1.0") {
                    let repeats = bytes.get(at + 16..at + 18)?;
                    plays =
                        Some(usize::from(u16::from_le_bytes([repeats[0], repeats[1]]))).filter(|repeats| *repeats > 0);
                }
                at = skip_blocks(at + 2)?;
            }
            0x2c => {
                count += 1;
                at = skip_blocks(at + 10 + table(*bytes.get(at + 9)?) + 1)?;
            }
            0x3b => break,
            _ => return None,
        }
    }
    (count > 1).then_some(Animation { plays, pictures: Some(start..at) })
}

/// Reads the chunks of a PNG up to its picture.
fn apng(bytes: &[u8]) -> Option<Animation> {
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return None;
    }
    let mut at = 8;
    loop {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
        let length = number(at)?;
        match bytes.get(at + 4..at + 8)? {
            b"acTL" => {
                let plays = Some(number(at + 12)?).filter(|plays| *plays > 0);
                return (number(at + 8)? > 1).then_some(Animation { plays, pictures: None });
            }
            b"IDAT" => return None,
            _ => at = at.checked_add(length.checked_add(12)?)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GIF of `pictures` pixels of one colour that plays `repeats` times.
    fn animated(pictures: usize, repeats: Option<u16>) -> Vec<u8> {
        let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        if let Some(repeats) = repeats {
            bytes.extend(b"\x21\xff\x0bNETSCAPE2.0\x03\x01");
            bytes.extend(repeats.to_le_bytes());
            bytes.push(0);
        }
        for _ in 0..pictures {
            bytes.extend(b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
        }
        bytes.push(0x3b);
        bytes
    }

    fn replaced(html: &str, gif: Vec<u8>) -> ReplacedPage {
        let read = move |path: &str| (path == "art/a b.gif").then(|| gif.clone());
        replace(html.to_owned(), "index.html", &read).unwrap()
    }

    #[test]
    fn files_say_how_often_they_play() {
        assert_eq!(Animation::of(&animated(1, Some(0))), None);
        assert_eq!(Animation::of(&animated(2, Some(0))).unwrap().plays, None);
        assert_eq!(Animation::of(&animated(2, None)).unwrap().plays, Some(1));
        let thrice = animated(2, Some(3));
        let animation = Animation::of(&thrice).unwrap();
        let whole = animation.repeated(&thrice, 3).unwrap();
        let again = gif(&whole).unwrap();
        assert_eq!(again.pictures.unwrap().len(), animation.pictures.unwrap().len() * 3);
        for length in 0..thrice.len() {
            assert_eq!(Animation::of(&thrice[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn pngs_with_an_animation_are_found() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend([0; 17]);
        let still = [&png[..], b"\0\0\0\x01IDATxxxxx"].concat();
        assert_eq!(Animation::of(&still), None);
        let moving = [&png[..], b"\0\0\0\x08acTL\0\0\0\x04\0\0\0\0xxxx", b"\0\0\0\x01IDATxxxxx"].concat();
        assert_eq!(Animation::of(&moving), Some(Animation { plays: None, pictures: None }));
    }

    #[test]
    fn an_animated_image_becomes_a_video_of_its_clip() {
        let page = "<body><div data-composition-id=\"main\" data-duration=\"4\"><img class=\"clip big\" src=\"art/a%20b.gif?x\" \
                    data-start=\"1\"></div></body>";
        let still = replaced(page, animated(2, Some(0)));
        let video = Document::from(still.html.as_str());
        let video = video.select("video.clip.big#hf-animated-1[loop]");
        assert_eq!(video.attr("data-duration").as_deref(), Some("3"));
        assert_eq!(video.attr("src").as_deref(), Some("art/a%20b.gif?x"));
        assert!(still.files.is_empty() && !still.html.contains("<img"));
        let still = replaced(page, animated(2, Some(2)));
        assert!(still.files[0].0.starts_with("_animated/") && !still.html.contains("loop="), "{}", still.html);
        let once = replaced(&page.replace("data-start", "data-loop=\"no\" data-start"), animated(2, Some(0)));
        assert!(once.html.contains("<video") && !once.html.contains(" loop="), "{}", once.html);
    }

    #[test]
    fn a_gif_is_repeated_once_for_all_its_images_and_within_a_limit() {
        let page = format!("<body>{}</body>", "<img src=\"art/a b.gif\">".repeat(50));
        let page = replaced(&page, animated(2, Some(3)));
        assert_eq!((page.files.len(), page.html.matches("_animated/").count()), (1, 50));

        let page: String = (0..4).map(|number| format!("<img src=\"{number}.gif\">")).collect();
        let gif = |path: &str| Some(animated(1000 + path.len() * usize::from(path.as_bytes()[0]), Some(u16::MAX)));
        let refused = replace(page, "index.html", &gif).unwrap_err().to_string();
        assert!(refused.contains(".gif") && refused.contains("67108864 bytes"), "{refused}");
    }

    #[test]
    fn stills_stay() {
        let page =
            "<body><img src=\"art/a b.gif\"><img src=\"https://example.org/x.gif\"><img src=\"none.gif\"></body>";
        assert_eq!(replaced(page, animated(1, None)).html, page);
    }
}
