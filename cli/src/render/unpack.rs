//! The zip of a png-sequence or of an hls package as a folder.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

/// Unpacks the flat archive `zip` into `target`: complete in `temporary` first, which is on the same file system, then
/// moved. A folder that exists keeps its other files, but no frames and fragments of an
/// earlier, longer output.
pub(super) fn into_folder(zip: &Path, temporary: &Path, target: &Path) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(BufReader::new(File::open(zip)?))?;
    let fresh = tempfile::tempdir_in(temporary)?;
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.enclosed_name().filter(|name| name.components().count() == 1);
        let name = name.ok_or_else(|| io::Error::other("the farm's archive has an entry with a strange name"))?;
        io::copy(&mut entry, &mut File::create(fresh.path().join(&name))?)?;
        names.push(name);
    }
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(target)? {
        let name = entry?.file_name();
        let is_old = !names.iter().any(|known| known.as_os_str() == name) && is_part(&name.to_string_lossy());
        if is_old {
            fs::remove_file(target.join(name))?;
        }
    }
    for name in names {
        fs::rename(fresh.path().join(&name), target.join(&name))?;
    }
    Ok(())
}

/// Whether `name` is that of a frame of a png-sequence or of a fragment of an hls package.
fn is_part(name: &str) -> bool {
    let is_number = |text: &str, digits: usize| text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let frame = name.strip_prefix("frame_").and_then(|rest| rest.strip_suffix(".png"));
    let fragment = name.strip_suffix(".m4s").and_then(|rest| rest.rsplit_once('-'));
    frame.is_some_and(|number| is_number(number, 6)) || fragment.is_some_and(|(_, number)| is_number(number, 5))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_sequence_replaces_an_earlier_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (zip, target) = (folder.path().join("x.zip"), folder.path().join("frames"));
        let mut writer = zip::ZipWriter::new(File::create(&zip).unwrap());
        writer.start_file("frame_000001.png", zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(b"one").unwrap();
        writer.finish().unwrap();
        fs::create_dir(&target).unwrap();
        for name in ["frame_000001.png", "frame_000002.png", "notes.txt"] {
            fs::write(target.join(name), b"old").unwrap();
        }
        into_folder(&zip, folder.path(), &target).unwrap();
        let mut names: Vec<_> = fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["frame_000001.png", "notes.txt"]);
        assert_eq!(fs::read(target.join("frame_000001.png")).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }
}
