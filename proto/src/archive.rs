//! What a project's archive may be: one set of limits, for the intake that reads its directory and for the worker that
//! unpacks it.
//!
//! The names are read from the archive's own directory, because a reader of zip archives keeps one entry of each name
//! and says nothing of the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Limits of a project's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveLimits {
    /// Files and folders.
    pub entries: usize,
    /// Bytes of all files unpacked.
    pub unpacked_bytes: u64,
    /// Unpacked bytes for each packed one, beyond [`ratio_from`](Self::ratio_from).
    pub ratio: u64,
    /// Unpacked bytes up to which the ratio does not matter: silence and plain colours pack very well.
    pub ratio_from: u64,
    /// Folders a file may be deep.
    pub depth: usize,
    /// Bytes of an entry's whole name.
    pub name_bytes: usize,
    /// Bytes of a name between two slashes: file systems take no longer ones.
    pub part_bytes: usize,
    /// Bytes of the directory of the archive.
    pub directory_bytes: u64,
}

impl ArchiveLimits {
    /// The limits of every farm.
    pub const DEFAULT: Self = Self {
        entries: 10_000,
        unpacked_bytes: 2 * 1024 * 1024 * 1024,
        ratio: 200,
        ratio_from: 64 * 1024 * 1024,
        depth: 32,
        name_bytes: 1024,
        part_bytes: 255,
        directory_bytes: 32 * 1024 * 1024,
    };

    /// The limits where a person renders their own project on their own machine: names are bounded, sizes are not.
    pub const LOCAL: Self = Self {
        entries: usize::MAX,
        unpacked_bytes: u64::MAX,
        ratio: u64::MAX,
        ratio_from: u64::MAX,
        directory_bytes: u64::MAX,
        ..Self::DEFAULT
    };
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Checks the names in the central directory of a zip archive, given from its first byte on; what follows it is
/// ignored.
///
/// # Errors
///
/// A sentence that names the entry at fault.
pub fn check_names(directory: &[u8], limits: &ArchiveLimits) -> Result<(), String> {
    // The number and the name of an entry, by its name in lower case.
    let mut seen: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut rest = directory;
    let mut count = 0;
    while let Some((names, after)) = next_names(rest) {
        rest = after;
        count += 1;
        if count > limits.entries {
            return Err(format!("the archive has more than {} entries", limits.entries));
        }
        let last = names.len() - 1;
        for (number, name) in names.into_iter().enumerate() {
            let name = std::str::from_utf8(name)
                .map_or_else(|_| name.iter().map(|byte| char::from(*byte)).collect::<String>(), str::to_owned);
            // A reader takes the last name. One before it may be in a character set of its own.
            if number == last {
                check_name(&name, limits)?;
            }
            let known = seen.insert(name.trim_end_matches('/').to_lowercase(), (count, name.clone()));
            let Some((_, other)) = known.filter(|(entry, _)| *entry != count) else { continue };
            let is_folder = |name: &str| name.ends_with('/');
            let (one, first) = (shown(&name), shown(&other));
            return Err(if one == first {
                format!("the archive has two entries named `{one}`; leave one of them out")
            } else if is_folder(&name) != is_folder(&other) {
                format!("the archive has `{first}` and `{one}`, a file and a folder of one name; rename one of them")
            } else {
                format!(
                    "the archive's entries `{first}` and `{one}` differ only in upper and lower case, so many systems \
                     take them for one file; rename one of them"
                )
            });
        }
    }
    for (key, (_, name)) in &seen {
        let parents = key.match_indices('/').filter_map(|(slash, _)| seen.get(&key[..slash]));
        if let Some(file) = parents.map(|(_, parent)| parent).find(|parent| !parent.ends_with('/')) {
            let (file, name) = (shown(file), shown(name));
            return Err(format!(
                "the archive has the file `{file}`, and `{name}` in a folder of that name; rename one of them"
            ));
        }
    }
    Ok(())
}

/// Checks the name of one entry; a folder's ends with a slash.
///
/// # Errors
///
/// A sentence that names the entry.
pub fn check_name(name: &str, limits: &ArchiveLimits) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("the archive's entry `{}` {what}", shown(name)));
    let path = name.trim_end_matches('/');
    if name.len() > limits.name_bytes || path.split('/').any(|part| part.len() > limits.part_bytes) {
        return wrong(&format!(
            "has a name of more than {} bytes, or of more than {} between two slashes",
            limits.name_bytes, limits.part_bytes
        ));
    }
    if path.chars().any(char::is_control) {
        return wrong("has control characters in its name");
    }
    if !is_plain_path(path) {
        return wrong("is absolute or climbs out of the project");
    }
    if name.split('/').count() > limits.depth {
        return wrong(&format!("is more than {} folders deep", limits.depth));
    }
    Ok(())
}

/// Whether `path` is a relative path inside a project: plain names between slashes.
pub fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    // A backslash or a drive letter is a separator or a root on some systems, and in no honest project.
    !path.contains(['\\', '\0']) && !is_on_drive(path) && path.split('/').all(is_plain)
}

/// Whether a path begins with a drive letter, or its first folder ends with a colon.
fn is_on_drive(path: &str) -> bool {
    let bytes = path.as_bytes();
    let has_letter = bytes.first().is_some_and(u8::is_ascii_alphabetic) && bytes.get(1) == Some(&b':');
    has_letter || path.split('/').next().is_some_and(|first| first.ends_with(':'))
}

/// The beginning of a name, without what a terminal would obey.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(80).collect();
    let more = if start.len() < name.len() { "…" } else { "" };
    format!("{}{more}", start.escape_debug())
}

/// The names of the first entry of a central directory, and what follows that entry. An entry may have a second name, in
/// UTF-8, which a reader takes in place of the first.
fn next_names(directory: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    const FIXED: usize = 46;
    let fixed = directory.get(..FIXED).filter(|fixed| fixed.starts_with(b"PK\x01\x02"))?;
    let length = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
    let (name, extra, comment) = (length(28), length(30), length(32));
    let end = FIXED + name + extra + comment;
    let mut names = vec![directory.get(FIXED..FIXED + name)?];
    names.extend(unicode_names(directory.get(FIXED + name..FIXED + name + extra)?));
    Some((names, directory.get(end..)?))
}

/// The names in the fields "Info-ZIP Unicode Path" (0x7075) of an entry's extra fields.
fn unicode_names(mut extra: &[u8]) -> Vec<&[u8]> {
    // Version and checksum of the first name stand before the name.
    const BEFORE_NAME: usize = 5;
    let mut names = Vec::new();
    while let [id0, id1, length0, length1, rest @ ..] = extra {
        let length = usize::from(u16::from_le_bytes([*length0, *length1]));
        let Some((field, after)) = rest.split_at_checked(length) else { break };
        if u16::from_le_bytes([*id0, *id1]) == 0x7075 {
            names.extend(field.get(BEFORE_NAME..));
        }
        extra = after;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            let mut fixed = [0; 46];
            fixed[..4].copy_from_slice(b"PK\x01\x02");
            fixed[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
            fixed[30] = 2;
            bytes.extend(fixed);
            bytes.extend(name.as_bytes());
            bytes.extend([0, 0]);
        }
        bytes.extend(b"PK\x05\x06");
        bytes
    }

    /// The directory of an archive whose entries have second names.
    fn directory_with_second_names(names: &[(&str, &str)]) -> Vec<u8> {
        let entries = names.iter().map(|(name, second)| {
            let mut extra = vec![0x75, 0x70];
            extra.extend((second.len() as u16 + 5).to_le_bytes());
            extra.extend([1, 0, 0, 0, 0]);
            extra.extend(second.as_bytes());
            let mut entry = directory(&[name]);
            entry.truncate(46 + name.len());
            entry[30..32].copy_from_slice(&(extra.len() as u16).to_le_bytes());
            [entry, extra].concat()
        });
        entries.collect::<Vec<_>>().concat()
    }

    fn refused(names: &[&str]) -> String {
        check_names(&directory(names), &ArchiveLimits::DEFAULT).unwrap_err()
    }

    #[test]
    fn names_that_cannot_stand_beside_each_other_are_refused() {
        let check = |names: &[&str]| check_names(&directory(names), &ArchiveLimits::DEFAULT);
        assert_eq!(check(&["index.html", "a/", "a/b.js", "é.png"]), Ok(()));
        assert!(refused(&["index.html", "index.html"]).contains("two entries named `index.html`"));
        assert!(refused(&["a.js", "A.js"]).contains("`a.js` and `A.js`"));
        assert!(refused(&["É.png", "é.png"]).contains("case"));
        // A file where a folder is.
        for names in [["a/", "a"], ["a", "a/"], ["a/", "A"], ["É", "é/"]] {
            let message = refused(&names);
            assert!(message.contains("a file and a folder of one name") && !message.contains("case"), "{message}");
            assert!(names.iter().all(|name| message.contains(&format!("`{name}`"))), "{message}");
        }
        assert!(refused(&["a/", "A/"]).contains("case"));
        assert!(refused(&["a", "a/b.txt"]).contains("the file `a`, and `a/b.txt`"));
        assert!(refused(&["x/A/b.txt", "x/a"]).contains("the file `x/a`"));
        let limits = ArchiveLimits { entries: 1, ..ArchiveLimits::DEFAULT };
        assert!(check_names(&directory(&["a", "b"]), &limits).unwrap_err().contains("more than 1"));
    }

    #[test]
    fn second_names_count_as_names() {
        let check = |names: &[(&str, &str)]| check_names(&directory_with_second_names(names), &ArchiveLimits::DEFAULT);
        assert_eq!(check(&[("index.html", "index.html"), ("bild\u{81}.png", "bildü.png")]), Ok(()));
        assert!(check(&[("index.html", "index.html"), ("x", "index.html")]).unwrap_err().contains("`index.html`"));
        assert!(check(&[("index.html", "index.html"), ("x", "INDEX.html")]).unwrap_err().contains("case"));
        assert!(check(&[("x", "../x")]).unwrap_err().contains("climbs"));
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for bad in ["a\0b.js", "a\x1b[31m.js", "/etc/x", "../x", "a/../b", "a\\b", "C:/x", "C:x", "a//b", "", "a\nb"] {
            let message = refused(&[bad]);
            assert!(!message.contains(['\0', '\x1b', '\n']), "{message:?}");
        }
        let long = refused(&["a".repeat(60_000).as_str()]);
        assert!(long.contains("`aaaa") && long.len() < 300, "{long}");
        assert!(refused(&[&"a/".repeat(500)]).contains("32 folders"));
    }

    #[test]
    fn a_directory_that_is_cut_off_ends() {
        let whole = directory(&["index.html", "a.js"]);
        for end in 0..whole.len() {
            let _ = check_names(&whole[..end], &ArchiveLimits::DEFAULT);
        }
    }
}
