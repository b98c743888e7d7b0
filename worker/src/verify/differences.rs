//! The elements that make two drawings of the same frame differ.
//!
//! An element is named only where pixels differ inside its box or that of a descendant. An element that differs by
//! itself (text, attribute, style) explains differences around and inside it. Pixels that no such element explains are
//! attributed to the smallest element over them: a canvas, an image, a frame.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::pixels::DifferingCells;
use super::sketch::{Element, Sketch};

/// Most characters of a value in a message.
const QUOTED: usize = 40;
/// Most differences of one element in a message.
const MAX_DIFFERENCES: usize = 2;
/// Distance in CSS pixels by which shadows and outlines reach beyond a box.
const MARGIN: f64 = 8.0;
/// Most elements that are named because of pixels alone.
const BY_PIXELS: usize = 3;

/// Styles that are inherited.
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

/// An element that makes two drawings differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ElementDifference {
    /// Its selector.
    pub(super) element: String,
    /// Its tag.
    pub(super) tag: String,
    /// What differs, for the author.
    pub(super) what: String,
}

/// The elements that make the pixels in `cells` differ between the pages of two sketches.
pub(super) fn between(a: &Sketch, b: &Sketch, cells: &DifferingCells) -> Vec<ElementDifference> {
    if cells.cells.is_empty() {
        return Vec::new();
    }
    let other: HashMap<&str, &Element> = b.elements.iter().map(|element| (element.name.as_str(), element)).collect();
    let known: BTreeSet<&str> = a.elements.iter().map(|element| element.name.as_str()).collect();
    let partner = |element: &Element| other.get(element.name.as_str()).copied();
    let own: Vec<Vec<String>> = a.elements.iter().map(|element| own_differences(a, element, &partner)).collect();
    let is_over = elements_over(a, &partner, cells);
    let above = |at: usize| std::iter::successors(a.elements[at].parent(), |at| a.elements[*at].parent());

    let mut named: BTreeMap<usize, String> = BTreeMap::new();
    for (at, differences) in own.iter().enumerate() {
        if !differences.is_empty() && is_over[at] {
            named.insert(at, differences.iter().take(MAX_DIFFERENCES).cloned().collect::<Vec<_>>().join("; "));
        }
    }
    let differing: BTreeSet<usize> = named.keys().copied().collect();
    let with_differing_descendant: BTreeSet<usize> = differing.iter().flat_map(|at| above(*at)).collect();
    for (at, element) in a.elements.iter().enumerate() {
        let Some(there) = partner(element) else { continue };
        let moved = element.shown && is_over[at] && element.area != there.area;
        let explained = with_differing_descendant.contains(&at) || above(at).any(|above| named.contains_key(&above));
        if moved && !named.contains_key(&at) && !explained {
            named.insert(at, format!("its box: {}, then {}", boxed(element.area), boxed(there.area)));
        }
    }

    let mut found: Vec<ElementDifference> =
        named.iter().map(|(at, what)| difference(&a.elements[*at], what.clone())).collect();
    let added = b.elements.iter().filter(|element| !known.contains(element.name.as_str()));
    let added: Vec<&Element> = added.filter(|element| is_over_any(element, cells)).collect();
    found.extend(added.iter().map(|element| difference(element, "it is there only the second time".to_owned())));

    let mut boxes: Vec<[f64; 4]> = added.iter().map(|element| element.area).collect();
    for (at, element) in a.elements.iter().enumerate() {
        if named.contains_key(&at) || above(at).any(|above| differing.contains(&above)) {
            boxes.push(element.area);
            boxes.extend(partner(element).map(|there| there.area));
        }
    }
    let left: Vec<[f64; 4]> =
        cells.cells.iter().filter(|cell| !boxes.iter().any(|area| overlaps(*area, **cell, MARGIN))).copied().collect();
    found.extend(by_pixels(a, &left));
    found
}

/// Differences of an element that do not follow from those of its parent.
fn own_differences<'a>(
    sketch: &'a Sketch,
    element: &Element,
    partner: &dyn Fn(&Element) -> Option<&'a Element>,
) -> Vec<String> {
    let Some(there) = partner(element) else { return vec!["it is there only the first time".to_owned()] };
    let mut found = Vec::new();
    if element.text != there.text {
        found.push(describe("its text", &element.text, &there.text));
    }
    for (name, here, there) in differing_values(&element.attributes, &there.attributes) {
        found.push(describe(&format!("its attribute {name}"), here, there));
    }
    let inline: BTreeSet<&str> = differing_values(&element.inline, &there.inline).map(|(name, ..)| name).collect();
    for (name, here, there) in differing_values(&element.inline, &there.inline) {
        found.push(describe(&format!("its style {name}"), here, there));
    }
    let parents =
        element.parent().and_then(|at| sketch.elements.get(at)).and_then(|parent| Some((parent, partner(parent)?)));
    for (name, here, there) in differing_values(&element.computed, &there.computed) {
        let from_parent = parents.is_some_and(|(parent, its_partner)| {
            value(&parent.computed, name) == here && value(&its_partner.computed, name) == there
        });
        if !(inline.contains(name) || INHERITED.contains(&name) && from_parent) {
            found.push(describe(&format!("its style {name}"), here, there));
        }
    }
    found
}

/// Names whose values differ, with both values.
fn differing_values<'a>(
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

/// For each element, whether pixels differ inside its box or that of a descendant.
fn elements_over<'a>(
    sketch: &Sketch,
    partner: &dyn Fn(&Element) -> Option<&'a Element>,
    cells: &DifferingCells,
) -> Vec<bool> {
    let mut is_over = vec![false; sketch.elements.len()];
    for (at, element) in sketch.elements.iter().enumerate().rev() {
        is_over[at] |= is_over_any(element, cells) || partner(element).is_some_and(|there| is_over_any(there, cells));
        if let Some(parent) = element.parent().filter(|_| is_over[at]) {
            is_over[parent] = true;
        }
    }
    is_over
}

fn is_over_any(element: &Element, cells: &DifferingCells) -> bool {
    element.shown && cells.cells.iter().any(|cell| overlaps(element.area, *cell, 0.0))
}

/// The smallest elements over cells that no element explains, those over most cells first.
fn by_pixels(sketch: &Sketch, cells: &[[f64; 4]]) -> Vec<ElementDifference> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for cell in cells {
        let over = sketch
            .elements
            .iter()
            .enumerate()
            .filter(|(_, element)| element.shown && overlaps(element.area, *cell, 0.0));
        // Of two elements of one size the later one is in front.
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
    named.map(|(at, _)| difference(&sketch.elements[at], what(&sketch.elements[at]).to_owned())).collect()
}

fn difference(element: &Element, what: String) -> ElementDifference {
    ElementDifference { element: element.name.clone(), tag: element.tag.clone(), what }
}

/// Whether an area (left, top, width, height) with `margin` around it overlaps a cell (left, top, right, bottom).
fn overlaps(area: [f64; 4], cell: [f64; 4], margin: f64) -> bool {
    let [left, top, width, height] = area;
    left - margin < cell[2]
        && left + width + margin > cell[0]
        && top - margin < cell[3]
        && top + height + margin > cell[1]
}

fn boxed([left, top, width, height]: [f64; 4]) -> String {
    format!("{width:.1}x{height:.1} at {left:.1},{top:.1}")
}

fn describe(what: &str, here: &str, there: &str) -> String {
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
            computed: BTreeMap::new(),
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
        Sketch { elements, random_numbers: 0 }
    }

    fn cells(at: &[(f64, f64)]) -> DifferingCells {
        DifferingCells { cells: at.iter().map(|(left, top)| [*left, *top, left + 8.0, top + 8.0]).collect() }
    }

    fn names(a: &Sketch, b: &Sketch, cells: &DifferingCells) -> Vec<String> {
        between(a, b, cells).into_iter().map(|found| format!("{}: {}", found.element, found.what)).collect()
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
            other.elements[at].computed.insert("color".to_owned(), "red".to_owned());
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
