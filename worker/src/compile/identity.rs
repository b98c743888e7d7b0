//! Composition ids of hosts: a file that is mounted more than once has another id in each mount.

use std::collections::BTreeMap;

use dom_query::{Document, NodeRef};

use super::dom::{all, trimmed};

const ID: &str = "data-composition-id";
const ORIGINAL: &str = "data-hf-original-composition-id";

/// The composition ids of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The id that its author wrote.
    pub(super) authored: Option<String>,
    /// The id that is unique in the page: `card`, or `card__hf2` for the second of several.
    pub(super) runtime: Option<String>,
}

/// Assigns ids to hosts of nested files.
#[derive(Debug, Default)]
pub(super) struct Identities {
    /// Last number by authored id.
    numbers: BTreeMap<String, usize>,
}

impl Identities {
    /// Identities of the hosts of the entry page. They are numbered where several share an id, or one shares that of
    /// the root.
    pub(super) fn of_page(document: &Document, hosts: &[NodeRef<'_>]) -> Vec<Identity> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for host in hosts {
            if let Some(id) = authored(*host) {
                *counts.entry(id).or_default() += 1;
            }
        }
        let root = all(document, "[data-composition-id]").into_iter().next();
        if let Some(count) = root
            .filter(|root| !hosts.iter().any(|host| host.id == root.id))
            .and_then(|root| trimmed(root, ID))
            .and_then(|id| counts.get_mut(&id))
        {
            *count += 1;
        }
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        hosts
            .iter()
            .map(|host| {
                let Some(id) = authored(*host) else { return Identity { authored: None, runtime: None } };
                if counts.get(&id).copied().unwrap_or_default() < 2 {
                    return Identity { runtime: Some(id.clone()), authored: Some(id) };
                }
                let number = numbers.entry(id.clone()).or_default();
                *number += 1;
                rename(*host, id, *number)
            })
            .collect()
    }

    /// Identity of a host in a nested file.
    pub(super) fn of_nested(&mut self, document: &Document, host: NodeRef<'_>) -> Identity {
        let Some(id) = authored(host) else { return Identity { authored: None, runtime: None } };
        let number = self.numbers.entry(id.clone()).or_default();
        loop {
            *number += 1;
            let name = format!("{id}__hf{number}");
            let taken = all(document, "[data-composition-id]")
                .into_iter()
                .any(|other| other.id != host.id && trimmed(other, ID).as_deref() == Some(&name));
            if !taken {
                return rename(host, id, *number);
            }
        }
    }
}

fn authored(host: NodeRef<'_>) -> Option<String> {
    trimmed(host, ORIGINAL).or_else(|| trimmed(host, ID))
}

fn rename(host: NodeRef<'_>, authored: String, number: usize) -> Identity {
    let runtime = format!("{authored}__hf{number}");
    host.set_attr(ORIGINAL, &authored);
    host.set_attr(ID, &runtime);
    Identity { authored: Some(authored), runtime: Some(runtime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(page: &str) -> Vec<String> {
        let document = Document::from(page);
        let hosts = all(&document, "[data-composition-src]");
        Identities::of_page(&document, &hosts).into_iter().map(|id| id.runtime.unwrap_or_default()).collect()
    }

    #[test]
    fn only_shared_ids_are_numbered() {
        let page = "<div data-composition-id=main><p data-composition-id=a data-composition-src=x></p>\
             <p data-composition-id=b data-composition-src=y></p><p data-composition-id=a data-composition-src=x></p>\
             <p data-composition-src=z></p></div>";
        assert_eq!(names(page), ["a__hf1", "b", "a__hf2", ""]);
        let page = "<div data-composition-id=main><p data-composition-id=main data-composition-src=x></p></div>";
        assert_eq!(names(page), ["main__hf1"]);
    }

    #[test]
    fn nested_hosts_are_always_numbered() {
        let document = Document::from("<p id=one data-composition-id=a></p><p data-composition-id=a__hf1></p>");
        let host = all(&document, "#one")[0];
        let identity = Identities::default().of_nested(&document, host);
        assert_eq!(identity.runtime.as_deref(), Some("a__hf2"));
        assert_eq!(trimmed(host, ORIGINAL).as_deref(), Some("a"));
    }
}
