//! What a project leaves out, by the rules of `.gitignore`: the last rule that matches a path decides, a rule of a
//! deeper folder after those of the folders above it, and what is in a folder that is left out is left out too.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// How patterns match: a star is within a name, and dots are usual characters.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// The rules of the files of one name in a folder and in those above it.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    folder: PathBuf,
    pattern: Pattern,
    /// Whether the pattern is one of a path from the folder on, not of a name at any depth.
    is_path: bool,
    folders_only: bool,
    is_left_out: bool,
}

impl Rules {
    /// These rules, and those of the file `name` in `folder` if there is one.
    pub(super) fn with(&self, folder: &Path, name: &str) -> Self {
        let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let own = text.lines().filter_map(|line| Rule::parse(folder, line));
        Self(self.0.iter().cloned().chain(own).collect())
    }

    /// Whether the rules leave the path out; `None` where they say nothing of it.
    pub(super) fn leave_out(&self, path: &Path, is_folder: bool) -> Option<bool> {
        self.0.iter().rev().find(|rule| rule.matches(path, is_folder)).map(|rule| rule.is_left_out)
    }
}

impl Rule {
    fn parse(folder: &Path, line: &str) -> Option<Self> {
        let line = line.trim_end();
        let (is_left_out, line) = line.strip_prefix('!').map_or((true, line), |rest| (false, rest));
        let (folders_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let is_path = line.contains('/');
        let line = line.trim_start_matches('/');
        let pattern = Pattern::new(line.strip_prefix('\\').unwrap_or(line)).ok()?;
        Some(Self { folder: folder.to_owned(), pattern, is_path, folders_only, is_left_out })
    }

    fn matches(&self, path: &Path, is_folder: bool) -> bool {
        if self.folders_only && !is_folder {
            return false;
        }
        let within = if self.is_path { path.strip_prefix(&self.folder).ok() } else { path.file_name().map(Path::new) };
        within.is_some_and(|within| self.pattern.matches_path_with(within, OPTIONS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_git() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# a comment\n*.mp4\n!keep.mp4\n/top.txt\nbuild/\na/**/z.js\n\\!odd\nfoo/*\n";
        std::fs::write(folder.path().join(".gitignore"), text).unwrap();
        let rules = Rules::default().with(folder.path(), ".gitignore");
        for (path, is_folder, expected) in [
            ("deep/er/x.mp4", false, Some(true)),
            ("deep/keep.mp4", false, Some(false)),
            ("top.txt", false, Some(true)),
            ("deep/top.txt", false, None),
            ("deep/build", true, Some(true)),
            ("build", false, None),
            ("a/z.js", false, Some(true)),
            ("a/b/c/z.js", false, Some(true)),
            ("!odd", false, Some(true)),
            ("foo/x", false, Some(true)),
            ("foo/y/x", false, None),
            (".mp4", false, Some(true)),
        ] {
            assert_eq!(rules.leave_out(&folder.path().join(path), is_folder), expected, "{path}");
        }
    }
}
