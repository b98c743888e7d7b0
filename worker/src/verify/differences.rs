//! Which elements make two drawings of the same frame differ.
//!
//! Only what shows counts: an element is named when pixels differ where it, or something inside it, is. One that differs by itself
//! (text, attribute, style) stands for what follows from it around and inside it. Pixels that no such element explains are named
//! by the smallest element over them: a canvas, an image, a frame.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pixels::Cells;
use super::sketch::{Element, Sketch};

/// Longest piece of a value in a message.
const QUOTED: usize = 40;
/// Differences told of one element.
const TOLD: usize = 2;
/// Shadows and outlines reach beyond a box; CSS pixels.
const MARGIN: f64 = 8.0;
/// Elements named for pixels alone.
const BY_PIXELS: usize = 3;

/// Styles that children have from their parents.
const INHERITED: &[&str] = &[
    "visibility",
    "color",
    "font-family",
    "font-size",
    "font-weight",
    "letter-spacing",
    "text-shadow",
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "stroke-dashoffset",
];

/// An element at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// Its selector.
    pub(super) element: String,
    /// Its tag.
    pub(super) tag: String,
    /// What of it differs, for a person.
    pub(super) what: String,
}

/// Names what makes the pixels in `cells` differ between the pages of two sketches.
pub(super) fn name(a: &Sketch, b: &Sketch, cells: &Cells) -> Vec<Finding> {
    if cells.marked.is_empty() {
        return Vec::new();
    }
    let other: HashMap<&str, &Element> = b.elements.iter().map(|element| (element.name.as_str(), element)).collect();
    let known: BTreeSet<&str> = a.elements.iter().map(|element| element.name.as_str()).collect();
    let partner = |element: &Element| other.get(element.name.as_str()).copied();
    let own: Vec<Vec<String>> = a.elements.iter().map(|element| own_differences(a, element, &partner)).collect();
    let touched = touched(a, &partner, cells);
    let above = |at: usize| std::iter::successors(a.elements[at].parent(), |at| a.elements[*at].parent());

    let mut named: BTreeMap<usize, String> = BTreeMap::new();
    for (at, differences) in own.iter().enumerate() {
        if !differences.is_empty() && touched[at] {
            named.insert(at, differences.iter().take(TOLD).cloned().collect::<Vec<_>>().join("; "));
        }
    }
    let at_fault: BTreeSet<usize> = named.keys().copied().collect();
    let with_fault_inside: BTreeSet<usize> = at_fault.iter().flat_map(|at| above(*at)).collect();
    for (at, element) in a.elements.iter().enumerate() {
        let Some(there) = partner(element) else { continue };
        let moved = element.shown && touched[at] && element.area != there.area;
        let explained = with_fault_inside.contains(&at) || above(at).any(|above| named.contains_key(&above));
        if moved && !named.contains_key(&at) && !explained {
            named.insert(at, format!("its box: {}, then {}", boxed(element.area), boxed(there.area)));
        }
    }

    let mut findings: Vec<Finding> = named.iter().map(|(at, what)| finding(&a.elements[*at], what.clone())).collect();
    let added = b.elements.iter().filter(|element| !known.contains(element.name.as_str()));
    let added: Vec<&Element> = added.filter(|element| covers_any(element, cells)).collect();
    findings.extend(added.iter().map(|element| finding(element, "it is there only the second time".to_owned())));

    let mut boxes: Vec<[f64; 4]> = added.iter().map(|element| element.area).collect();
    for (at, element) in a.elements.iter().enumerate() {
        if named.contains_key(&at) || above(at).any(|above| at_fault.contains(&above)) {
            boxes.push(element.area);
            boxes.extend(partner(element).map(|there| there.area));
        }
    }
    let left: Vec<[f64; 4]> =
        cells.marked.iter().filter(|cell| !boxes.iter().any(|area| meet(*area, **cell, MARGIN))).copied().collect();
    findings.extend(by_pixels(a, &left));
    findings
}

/// Differences that are not the consequence of another element's.
fn own_differences<'a>(
    sketch: &'a Sketch,
    element: &Element,
    partner: &dyn Fn(&Element) -> Option<&'a Element>,
) -> Vec<String> {
    let Some(there) = partner(element) else { return vec!["it is there only the first time".to_owned()] };
    let mut found = Vec::new();
    if element.text != there.text {
        found.push(told("its text", &element.text, &there.text));
    }
    for (name, here, there) in pairs(&element.attributes, &there.attributes) {
        found.push(told(&format!("its attribute {name}"), here, there));
    }
    let inline: BTreeSet<&str> = pairs(&element.inline, &there.inline).map(|(name, ..)| name).collect();
    for (name, here, there) in pairs(&element.inline, &there.inline) {
        found.push(told(&format!("its style {name}"), here, there));
    }
    let parents =
        element.parent().and_then(|at| sketch.elements.get(at)).and_then(|parent| Some((parent, partner(parent)?)));
    for (name, here, there) in pairs(&element.looks, &there.looks) {
        let from_parent = parents.is_some_and(|(parent, its_partner)| {
            value(&parent.looks, name) == here && value(&its_partner.looks, name) == there
        });
        if !(inline.contains(name) || INHERITED.contains(&name) && from_parent) {
            found.push(told(&format!("its style {name}"), here, there));
        }
    }
    found
}

/// Names whose values differ, with both.
fn pairs<'a>(
    a: &'a BTreeMap<String, String>,
    b: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let names: BTreeSet<&'a str> = a.keys().chain(b.keys()).map(String::as_str).collect();
    names.into_iter().filter_map(move |name| {
        let (here, there) = (value(a, name), value(b, name));
        (here != there).then_some((name, here, there))
    })
}

fn value<'a>(values: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    values.get(name).map_or("", String::as_str)
}

/// Of each element, whether pixels differ where it or something inside it is.
fn touched<'a>(sketch: &Sketch, partner: &dyn Fn(&Element) -> Option<&'a Element>, cells: &Cells) -> Vec<bool> {
    let mut touched = vec![false; sketch.elements.len()];
    for (at, element) in sketch.elements.iter().enumerate().rev() {
        touched[at] |= covers_any(element, cells) || partner(element).is_some_and(|there| covers_any(there, cells));
        if let Some(parent) = element.parent().filter(|_| touched[at]) {
            touched[parent] = true;
        }
    }
    touched
}

fn covers_any(element: &Element, cells: &Cells) -> bool {
    element.shown && cells.marked.iter().any(|cell| meet(element.area, *cell, 0.0))
}

/// The smallest elements over cells that nothing explains, those of most cells first.
fn by_pixels(sketch: &Sketch, cells: &[[f64; 4]]) -> Vec<Finding> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for cell in cells {
        let over =
            sketch.elements.iter().enumerate().filter(|(_, element)| element.shown && meet(element.area, *cell, 0.0));
        // Of two of one size the later one is in front.
        let size = |element: &Element| element.area[2] * element.area[3];
        let owner = over.rev().min_by(|(_, a), (_, b)| size(a).total_cmp(&size(b)));
        if let Some((at, _)) = owner {
            *counts.entry(at).or_default() += 1;
        }
    }
    let mut counts: Vec<(usize, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
    let named = counts.into_iter().take(BY_PIXELS).filter(|(_, count)| count * 20 >= cells.len());
    let what = |element: &Element| match element.tag.as_str() {
        "canvas" => "what is drawn on it",
        "img" | "image" | "picture" | "video" => "its picture",
        "iframe" => "what is inside it",
        _ => "its pixels",
    };
    named.map(|(at, _)| finding(&sketch.elements[at], what(&sketch.elements[at]).to_owned())).collect()
}

fn finding(element: &Element, what: String) -> Finding {
    Finding { element: element.name.clone(), tag: element.tag.clone(), what }
}

/// Whether an area, left, top, width and height, and `margin` around it reach into a cell.
fn meet(area: [f64; 4], cell: [f64; 4], margin: f64) -> bool {
    let [left, top, width, height] = area;
    left - margin < cell[2]
        && left + width + margin > cell[0]
        && top - margin < cell[3]
        && top + height + margin > cell[1]
}

fn boxed([left, top, width, height]: [f64; 4]) -> String {
    format!("{width:.1}x{height:.1} at {left:.1},{top:.1}")
}

fn told(what: &str, here: &str, there: &str) -> String {
    let short = |text: &str| match text.char_indices().nth(QUOTED) {
        _ if text.is_empty() => "nothing".to_owned(),
        Some((cut, _)) => format!("\"{}…\"", &text[..cut]),
        None => format!("\"{text}\""),
    };
    format!("{what}: {}, then {}", short(here), short(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(name: &str, parent: i64, area: [f64; 4]) -> Element {
        Element {
            name: name.to_owned(),
            tag: name.trim_start_matches('#').to_owned(),
            parent,
            area,
            shown: true,
            text: String::new(),
            inline: BTreeMap::new(),
            looks: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }

    /// A page with a card that holds a dot and a label, and a canvas beside it.
    fn page() -> Sketch {
        let elements = vec![
            element("#root", -1, [0.0, 0.0, 320.0, 180.0]),
            element("#card", 0, [10.0, 10.0, 100.0, 100.0]),
            element("#dot", 1, [20.0, 20.0, 10.0, 10.0]),
            element("#label", 1, [20.0, 60.0, 50.0, 20.0]),
            element("#canvas", 0, [200.0, 10.0, 100.0, 100.0]),
        ];
        Sketch { elements, lots: 0 }
    }

    fn cells(at: &[(f64, f64)]) -> Cells {
        Cells { marked: at.iter().map(|(left, top)| [*left, *top, left + 8.0, top + 8.0]).collect() }
    }

    fn names(a: &Sketch, b: &Sketch, cells: &Cells) -> Vec<String> {
        name(a, b, cells).into_iter().map(|finding| format!("{}: {}", finding.element, finding.what)).collect()
    }

    #[test]
    fn what_does_not_show_is_not_named() {
        let mut other = page();
        other.elements[3].text = "x".to_owned();
        assert!(names(&page(), &other, &cells(&[])).is_empty());
        // Pixels differ elsewhere: the label is not at fault, and what is there is.
        assert_eq!(names(&page(), &other, &cells(&[(208.0, 16.0)])), ["#canvas: what is drawn on it"]);
    }

    #[test]
    fn a_moved_parent_stands_for_its_children() {
        let mut other = page();
        for at in [1, 2, 3] {
            other.elements[at].area[0] += 5.0;
        }
        other.elements[1].inline.insert("left".to_owned(), "15px".to_owned());
        assert_eq!(names(&page(), &other, &cells(&[(24.0, 24.0)])), ["#card: its style left: nothing, then \"15px\""]);
        other.elements[1].inline.clear();
        let moved = "#card: its box: 100.0x100.0 at 10.0,10.0, then 100.0x100.0 at 15.0,10.0";
        assert_eq!(names(&page(), &other, &cells(&[(24.0, 24.0)])), [moved]);
    }

    #[test]
    fn a_changed_text_stands_for_the_boxes_around_it() {
        let mut other = page();
        other.elements[3].text = "longer".to_owned();
        other.elements[3].area[2] = 80.0;
        other.elements[1].area[2] = 120.0;
        for at in [1, 3] {
            other.elements[at].looks.insert("color".to_owned(), "red".to_owned());
        }
        let found = names(&page(), &other, &cells(&[(24.0, 64.0)]));
        assert_eq!(
            found,
            ["#card: its style color: nothing, then \"red\"", "#label: its text: nothing, then \"longer\""]
        );
    }

    #[test]
    fn elements_of_one_page_only_are_named() {
        let mut other = page();
        other.elements.pop();
        other.elements.push(element("#late", 0, [200.0, 120.0, 50.0, 50.0]));
        let found = names(&page(), &other, &cells(&[(208.0, 16.0), (208.0, 128.0)]));
        assert_eq!(found, ["#canvas: it is there only the first time", "#late: it is there only the second time"]);
    }
}
