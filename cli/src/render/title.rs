//! The name of a project, as people know it.

use std::path::Path;

use hyperfarm_proto::bounded::Text;
use serde_json::Value;

use super::project::folder_of;

/// The project's `hyperframes.json`, its `package.json`, the title `of_page` or the folder: the first that has a name.
pub(super) fn of(project: &Path, of_page: Option<String>) -> Option<Text<500>> {
    let whole = project.canonicalize().ok()?;
    let folder = if whole.is_dir() { whole.as_path() } else { folder_of(&whole) };
    let by_file = || ["hyperframes.json", "package.json"].iter().find_map(|file| name_in(&folder.join(file)));
    let by_folder = || Some(whole.file_stem()?.to_string_lossy().into_owned());
    let name = by_file().or(of_page).or_else(by_folder)?;
    Text::new(name.chars().take(500).collect::<String>())
}

fn name_in(file: &Path) -> Option<String> {
    let value: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    filled(value["name"].as_str()?)
}

fn filled(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use hyperfarm_worker::Compilers;

    use super::*;

    #[test]
    fn the_first_name_of_a_project_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("spring-sale");
        std::fs::create_dir(&folder).unwrap();
        let page = folder.join("index.html");
        let title = || {
            let of_page = Compilers::in_process().read_page(&page).and_then(|facts| facts.title);
            of(&folder, of_page).unwrap().to_string()
        };
        std::fs::write(folder.join("index.html"), "<svg><title>x</title></svg>").unwrap();
        assert_eq!(title(), "spring-sale");
        std::fs::write(folder.join("index.html"), "<title>Spring &amp;\n Sale</title>").unwrap();
        assert_eq!(title(), "Spring & Sale");
        // The render says what is wrong with a page that is too deep to be read.
        std::fs::write(folder.join("index.html"), "<title>Deep</title>".to_owned() + &"<div>".repeat(200_000)).unwrap();
        assert_eq!(title(), "spring-sale");
        std::fs::write(folder.join("package.json"), r#"{"name":"sale"}"#).unwrap();
        assert_eq!(title(), "sale");
        std::fs::write(folder.join("hyperframes.json"), r#"{"name":"Sale 2"}"#).unwrap();
        assert_eq!(title(), "Sale 2");
    }
}
