//! The font library: font files of the operator's folder and of the machine, by their family, weight and style.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Folders of the machine's fonts.
const MACHINE_FOLDERS: &[&str] = &["/usr/share/fonts", "/usr/local/share/fonts"];
/// Most levels of folders below a folder of fonts.
const MAX_DEPTH: usize = 8;

/// A font face and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FontFile {
    pub(crate) family: String,
    /// `font-weight` of CSS: `400`, or `100 900` for a variable font.
    pub(crate) weight: String,
    pub(crate) italic: bool,
    pub(crate) file: PathBuf,
}

/// Fonts that are not embedded.
#[derive(Debug)]
pub(crate) struct FontLibrary {
    faces: Vec<FontFile>,
    machine: OnceLock<Vec<FontFile>>,
}

impl FontLibrary {
    /// A library of the fonts in the operator's folder.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        let mut faces = Vec::new();
        if let Some(folder) = folder {
            collect(&folder, 0, &mut faces);
        }
        faces.sort_by(|a, b| (&a.family, &a.weight, &a.file).cmp(&(&b.family, &b.weight, &b.file)));
        Self { faces, machine: OnceLock::new() }
    }

    /// The operator's faces.
    pub(crate) fn faces(&self) -> &[FontFile] {
        &self.faces
    }

    /// Whether a font of this machine has the family.
    pub(crate) fn is_on_machine(&self, family: &str) -> bool {
        let machine = self.machine.get_or_init(|| {
            let mut faces = Vec::new();
            for folder in MACHINE_FOLDERS {
                collect(Path::new(folder), 0, &mut faces);
            }
            faces
        });
        machine.iter().any(|face| face.family.eq_ignore_ascii_case(family))
    }
}

fn collect(folder: &Path, depth: usize, faces: &mut Vec<FontFile>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            if depth < MAX_DEPTH {
                collect(&path, depth + 1, faces);
            }
            continue;
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "ttf" | "otf" => faces.extend(read(&path)),
            // Their tables are compressed, so the name of the file is read.
            "woff2" | "woff" => faces.extend(from_name(&path)),
            _ => {}
        }
    }
}

/// The face of a font file, by its tables.
fn read(path: &Path) -> Option<FontFile> {
    let bytes = std::fs::read(path).ok()?;
    let face = ttf_parser::Face::parse(&bytes, 0).ok()?;
    let name = |id: u16| {
        let mut names = face.names().into_iter().filter(|name| name.name_id == id && name.is_unicode());
        names.find_map(|name| name.to_string())
    };
    let family = name(ttf_parser::name_id::TYPOGRAPHIC_FAMILY).or_else(|| name(ttf_parser::name_id::FAMILY))?;
    let axis = face.variation_axes().into_iter().find(|axis| axis.tag == ttf_parser::Tag::from_bytes(b"wght"));
    let weight = match axis {
        Some(axis) => format!("{} {}", axis.min_value, axis.max_value),
        None => face.weight().to_number().to_string(),
    };
    Some(FontFile { family, weight, italic: face.is_italic() || face.is_oblique(), file: path.to_owned() })
}

/// The face of a font file, by a name such as `inter-latin-700-italic`, `Inter-BoldItalic` or `Open Sans`.
fn from_name(path: &Path) -> Option<FontFile> {
    const WEIGHTS: &[(&str, &str)] = &[
        ("extralight", "200"),
        ("ultralight", "200"),
        ("semibold", "600"),
        ("demibold", "600"),
        ("extrabold", "800"),
        ("ultrabold", "800"),
        ("thin", "100"),
        ("light", "300"),
        ("regular", "400"),
        ("medium", "500"),
        ("bold", "700"),
        ("black", "900"),
        ("heavy", "900"),
        ("variable", "100 900"),
    ];
    let stem = path.file_stem()?.to_str()?;
    let mut family = Vec::new();
    let (mut weight, mut italic) = ("400".to_owned(), false);
    for (index, part) in stem.split(['-', '_']).enumerate() {
        let mut lower = part.to_ascii_lowercase();
        if index == 0 {
            family.push(part.to_owned());
            continue;
        }
        if let Some(rest) = lower.strip_suffix("italic").map(str::to_owned) {
            italic = true;
            lower = rest;
        }
        if let Some((_, number)) = WEIGHTS.iter().find(|(name, _)| *name == lower) {
            weight = (*number).to_owned();
        } else if lower.parse::<u16>().is_ok_and(|number| (1..=1000).contains(&number)) {
            weight = lower;
        } else if !["", "normal", "latin", "ext", "wght"].contains(&lower.as_str()) {
            family.push(part.to_owned());
        }
    }
    let family = family.join(" ");
    (!family.is_empty()).then(|| FontFile { family, weight, italic, file: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_compressed_files_are_read() {
        let of = |name: &str| from_name(Path::new(name)).map(|face| (face.family, face.weight, face.italic)).unwrap();
        assert_eq!(of("open-sans-latin-700-italic.woff2"), ("open sans".to_owned(), "700".to_owned(), true));
        assert_eq!(of("Inter-BoldItalic.woff2"), ("Inter".to_owned(), "700".to_owned(), true));
        assert_eq!(of("Acme.woff"), ("Acme".to_owned(), "400".to_owned(), false));
        assert_eq!(of("Inter-SemiBold.woff2").1, "600");
    }

    #[test]
    fn a_folder_without_fonts_is_an_empty_library() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("broken.ttf"), "no font").unwrap();
        std::fs::create_dir(folder.path().join("deep")).unwrap();
        std::fs::write(folder.path().join("deep/Acme Sans-Bold.woff2"), "x").unwrap();
        let library = FontLibrary::new(Some(folder.path().to_owned()));
        let families: Vec<&str> = library.faces().iter().map(|face| face.family.as_str()).collect();
        assert_eq!(families, ["Acme Sans"]);
    }
}
