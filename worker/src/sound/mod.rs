//! The sounds of a plan, from what the page reports about the sound of its elements.

mod chain;
mod gain;
mod lane;
mod speed;

use std::collections::BTreeMap;

use hyperfarm_media::MediaInfo;
use hyperfarm_proto::plan::{AudioGroup, AudioItem, Buses, GainPoint, MediaTiming, Warning};

use self::lane::Automation;
use self::speed::Speed;
use crate::error::ProjectError;
use crate::host::{ProbedMedia, ProbedSound, SoundElement};

/// Most sounds that play at once: each has a decoder's process.
const MAX_AT_ONCE: usize = 256;
/// Most points of the gains of all sounds and groups.
const MAX_GAIN_POINTS: usize = 1_000_000;
/// Most seconds of sound that are stored while a composition is mixed: each sound with effects, each group and the master
/// is mixed into a file, of 1.4 GB an hour.
const MAX_STORED: f64 = 8.0 * 3600.0;

/// Collects the sounds of a composition for the plan.
pub(crate) struct SoundCollector<'a> {
    probed: &'a ProbedSound,
    /// Duration of the composition in seconds.
    duration: f64,
    elements: BTreeMap<&'a str, &'a SoundElement>,
    items: Vec<AudioItem>,
    groups: Vec<AudioGroup>,
    /// Points of all gains.
    points: usize,
}

impl<'a> SoundCollector<'a> {
    pub(crate) fn new(probed: &'a ProbedSound, duration: f64) -> Self {
        let elements = probed.elements.iter().map(|element| (element.id.as_str(), element)).collect();
        Self { probed, duration, elements, items: Vec::new(), groups: Vec::new(), points: 0 }
    }

    /// Whether the element may be heard: it is not muted or declared silent, and neither it nor its group is hidden.
    pub(crate) fn is_audible(&self, element: &ProbedMedia) -> bool {
        let sound = self.elements.get(element.id.as_str());
        let group = sound.and_then(|sound| sound.group.as_deref());
        let group_hidden = self.probed.groups.iter().any(|of| of.hidden && Some(of.id.as_str()) == group);
        let hidden = sound.is_some_and(|sound| sound.hidden) || group_hidden;
        !element.muted && element.has_audio.as_deref() != Some("false") && !hidden
    }

    /// Adds the sound of `element`, whose source is at `path` in the project.
    ///
    /// # Errors
    ///
    /// [`ProjectError::TooComplex`] where all gains together have too many points.
    pub(crate) fn add(
        &mut self,
        element: &ProbedMedia,
        info: &MediaInfo,
        path: &str,
        rate: f64,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ProjectError> {
        let owner = format!("{} \"{}\"", element.kind, element.id);
        let automation = automation(element.automation.as_deref(), &owner, warnings);
        let speed = Speed::new(rate, &automation.rate);
        let Some(timing) = span(element, info, rate, &speed, self.duration) else { return Ok(()) };
        if element.looped
            && info.duration.is_some_and(|source| authored_end(element) > timing.start + speed.time_at(source))
        {
            let message = format!("{owner} loops and outlasts its source; its sound plays once, as in every export");
            warnings.push(Warning { code: "SOUND_NOT_LOOPED".to_owned(), message });
        }
        let scripted = self.probed.scripted.iter().find(|scripted| scripted.id == element.id);
        let gain = gain::of_element(element, &timing, &automation, scripted.map(|scripted| scripted.points.as_slice()));
        self.count_points(&owner, &gain)?;
        let sound = self.elements.get(element.id.as_str()).copied();
        let effects = sound
            .and_then(|sound| sound.effects.as_deref())
            .and_then(|text| chain::parse(text, &automation.effects, &owner, warnings));
        let group = sound.and_then(|sound| sound.group.as_deref());
        let group = group.map(|group| self.group(group, warnings)).transpose()?;
        let stretches = speed.stretches(&timing, info.duration);
        self.items.push(AudioItem {
            id: element.id.clone(),
            path: path.to_owned(),
            timing,
            stretches,
            effects,
            gain,
            group,
        });
        Ok(())
    }

    /// Counts the points of the gain of `owner`.
    fn count_points(&mut self, owner: &str, gain: &[GainPoint]) -> Result<(), ProjectError> {
        self.points += gain.len();
        if self.points <= MAX_GAIN_POINTS {
            return Ok(());
        }
        Err(ProjectError::TooComplex(format!(
            "with {owner} the volumes of the composition have more than {MAX_GAIN_POINTS} points; give data-automation \
             fewer points, or curves of fewer seconds"
        )))
    }

    /// Index of the group with this id, which is added if needed. A group needs no element of its own.
    fn group(&mut self, id: &str, warnings: &mut Vec<Warning>) -> Result<u32, ProjectError> {
        if let Some(known) = self.groups.iter().position(|group| group.id == id) {
            return Ok(known as u32);
        }
        let element = self.probed.groups.iter().rev().find(|group| group.id == id);
        let owner = format!("the audio group \"{id}\"");
        let text = element.and_then(|element| element.automation.as_deref());
        let automation = automation(text, &owner, warnings);
        let effects = element
            .and_then(|element| element.effects.as_deref())
            .and_then(|text| chain::parse(text, &automation.effects, &owner, warnings));
        let volume = element.map_or(1.0, |element| element.volume);
        let gain = gain::of_group(volume, &automation);
        self.count_points(&owner, &gain)?;
        self.groups.push(AudioGroup { id: id.to_owned(), effects, gain });
        Ok(self.groups.len() as u32 - 1)
    }

    /// All sounds that were added, with their groups and the master's effects.
    ///
    /// # Errors
    ///
    /// [`ProjectError::TooComplex`] where too many sounds play at once, or those with effects and the groups are too
    /// long together.
    pub(crate) fn finish(self, warnings: &mut Vec<Warning>) -> Result<(Vec<AudioItem>, Buses), ProjectError> {
        let master = self.probed.master.as_deref().filter(|_| !self.items.is_empty());
        let master = master.and_then(|text| chain::parse(text, "", "the root composition", warnings));
        if let Some(item) = one_too_many(&self.items) {
            return Err(ProjectError::TooComplex(format!(
                "at second {:.3}, where \"{}\" begins, more than {MAX_AT_ONCE} sounds play at once; mix some of them into \
                 one file",
                item.timing.start.max(0.0),
                item.id
            )));
        }
        let with_effects = self.items.iter().filter(|item| item.effects.is_some());
        let of_effects: f64 =
            with_effects.map(|item| item.timing.end.min(self.duration) - item.timing.start.max(0.0)).sum();
        let sums = self.groups.len() + usize::from(master.is_some());
        let stored = of_effects + sums as f64 * self.duration;
        if stored > MAX_STORED {
            return Err(ProjectError::TooComplex(format!(
                "the sounds with data-fx-chain, and the composition once for each of its audio groups, are {:.1} hours \
                 long together; {:.0} hours can be mixed. Use fewer groups, or sounds that have the effects already",
                stored / 3600.0,
                MAX_STORED / 3600.0
            )));
        }
        Ok((self.items, Buses { groups: self.groups, master }))
    }
}

/// The first sound that begins while [`MAX_AT_ONCE`] others play.
fn one_too_many(items: &[AudioItem]) -> Option<&AudioItem> {
    let mut starts: Vec<&AudioItem> = items.iter().collect();
    starts.sort_by(|a, b| a.timing.start.total_cmp(&b.timing.start));
    let mut ends: Vec<f64> = items.iter().map(|item| item.timing.end).collect();
    ends.sort_by(f64::total_cmp);
    let is_beyond = |(begun, item): &(usize, &AudioItem)| {
        let over = ends.partition_point(|end| *end <= item.timing.start);
        begun + 1 - over > MAX_AT_ONCE
    };
    starts.into_iter().enumerate().find(is_beyond).map(|(_, item)| item)
}

fn automation(text: Option<&str>, owner: &str, warnings: &mut Vec<Warning>) -> Automation {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Automation::default() };
    Automation::parse(text).unwrap_or_else(|reason| {
        let message = format!("data-automation of {owner} cannot be read and was ignored: {reason}");
        warnings.push(Warning { code: "AUTOMATION_INVALID".to_owned(), message });
        Automation::default()
    })
}

/// The end that the author sets, in seconds of the composition; infinity without one.
fn authored_end(element: &ProbedMedia) -> f64 {
    let start = element.start.unwrap_or(0.0);
    let after = |seconds: &f64| *seconds > 0.0;
    let by_duration = element.duration.filter(after).map(|seconds| start + seconds);
    element.end.filter(|end| *end > start).or(by_duration).unwrap_or(f64::INFINITY)
}

/// When the element is heard. The end may lie beyond that of the composition, because the fade-out ends with it. An
/// `<audio>` ends with its source at the latest. `None` where nothing is heard.
///
/// `loop` repeats pictures only: HyperFrames' export plays a sound once, whatever the preview does.
fn span(element: &ProbedMedia, info: &MediaInfo, rate: f64, speed: &Speed, duration: f64) -> Option<MediaTiming> {
    let start = element.start.unwrap_or(0.0);
    let natural = info.duration.map_or(duration, |source| start + speed.time_at(source - element.media_start));
    let authored = authored_end(element);
    let end = if element.kind == "audio" || authored.is_infinite() { authored.min(natural) } else { authored };
    let is_heard = end > start && end > 0.0 && start < duration;
    let timing = MediaTiming { start, end, media_start: element.media_start, rate, looped: false };
    is_heard.then_some(timing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SoundGroup;
    use crate::media_list::testing::{element, info};

    fn probed() -> ProbedSound {
        let sound = |id: &str, group: Option<&str>, effects: Option<&str>| SoundElement {
            id: id.to_owned(),
            hidden: false,
            effects: effects.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let chain = r#"{"version":1,"nodes":[{"type":"reverb"}]}"#;
        ProbedSound {
            elements: vec![
                sound("a", Some("music"), Some(chain)),
                sound("b", Some("music"), None),
                sound("c", None, None),
            ],
            groups: vec![SoundGroup {
                id: "music".to_owned(),
                hidden: false,
                volume: 0.5,
                effects: Some(chain.to_owned()),
                automation: None,
            }],
            master: None,
            scripted: Vec::new(),
        }
    }

    fn named(id: &str) -> ProbedMedia {
        ProbedMedia { id: id.to_owned(), ..element() }
    }

    #[test]
    fn members_share_a_group_and_keep_their_own_effects() {
        let probed = probed();
        let mut warnings = Vec::new();
        let mut sounds = SoundCollector::new(&probed, 10.0);
        for id in ["a", "b", "c"] {
            sounds.add(&named(id), &info(3.0), "x.mp3", 1.0, &mut warnings).unwrap();
        }
        let (items, buses) = sounds.finish(&mut warnings).unwrap();
        assert_eq!(items.iter().map(|item| item.group).collect::<Vec<_>>(), [Some(0), Some(0), None]);
        assert_eq!(items.iter().map(|item| item.effects.is_some()).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(buses.groups.len(), 1);
        assert_eq!(buses.groups[0].gain[0].gain, 0.5);
        assert!(buses.groups[0].effects.is_some() && warnings.is_empty());
    }

    /// What is said of a composition of `duration` seconds with these sounds.
    fn refused(probed: &ProbedSound, duration: f64, elements: &[ProbedMedia]) -> Option<String> {
        let mut warnings = Vec::new();
        let mut sounds = SoundCollector::new(probed, duration);
        let added =
            elements.iter().try_for_each(|element| sounds.add(element, &info(1e6), "x.mp3", 1.0, &mut warnings));
        added.and_then(|()| sounds.finish(&mut warnings)).err().map(|error| error.to_string())
    }

    #[test]
    fn sounds_at_once_are_bounded() {
        // Each lasts for a second and begins when the one before it ends.
        let of = |number: usize, start: f64| ProbedMedia {
            start: Some(start),
            duration: Some(1.0),
            ..named(&format!("e{number}"))
        };
        let after: Vec<_> = (0..1000).map(|number| of(number, number as f64)).collect();
        assert_eq!(refused(&ProbedSound::default(), 1e4, &after), None);
        let mut at_once: Vec<_> = (0..MAX_AT_ONCE).map(|number| of(number, 5.0)).collect();
        assert_eq!(refused(&ProbedSound::default(), 1e4, &at_once), None);
        at_once.push(of(MAX_AT_ONCE, 5.5));
        let text = refused(&ProbedSound::default(), 1e4, &at_once).unwrap();
        assert!(text.contains("second 5.500") && text.contains(&format!("\"e{MAX_AT_ONCE}\"")), "{text}");
    }

    #[test]
    fn stored_sound_and_points_are_bounded() {
        let element =
            |id: &str| SoundElement { id: id.to_owned(), hidden: false, effects: None, group: Some(id.to_owned()) };
        let ids: Vec<String> = (0..9).map(|number| format!("g{number}")).collect();
        let probed = ProbedSound { elements: ids.iter().map(|id| element(id)).collect(), ..ProbedSound::default() };
        let elements: Vec<_> = ids.iter().map(|id| ProbedMedia { start: Some(0.0), ..named(id) }).collect();
        assert_eq!(refused(&probed, 3600.0, &elements[..8]), None);
        let text = refused(&probed, 3600.0, &elements).unwrap();
        assert!(text.contains("9.0 hours"), "{text}");
        let points: Vec<String> = (0..400).map(|t| format!(r#"{{"t":{t}e9,"v":1,"curve":0.5}}"#)).collect();
        let lane = format!(r#"{{"version":1,"lanes":[{{"target":"volume","points":[{}]}}]}}"#, points.join(","));
        let curved = ProbedMedia { automation: Some(lane), ..named("c") };
        let text = refused(&ProbedSound::default(), 10.0, &[curved]).unwrap();
        assert!(text.contains("audio \"c\"") && text.contains("points"), "{text}");
    }

    #[test]
    fn hidden_and_muted_elements_and_members_of_hidden_groups_are_silent() {
        let mut probed = probed();
        probed.groups[0].hidden = true;
        let sounds = SoundCollector::new(&probed, 10.0);
        assert!(!sounds.is_audible(&named("a")));
        assert!(sounds.is_audible(&named("c")));
        assert!(!sounds.is_audible(&ProbedMedia { muted: true, ..named("c") }));
        probed.elements[2].hidden = true;
        assert!(!SoundCollector::new(&probed, 10.0).is_audible(&named("c")));
    }

    #[test]
    fn a_sound_ends_with_its_source_and_its_fade_may_end_after_the_composition() {
        let speed = Speed::new(1.0, &[]);
        let cut = ProbedMedia { duration: Some(9.0), ..element() };
        assert_eq!(span(&cut, &info(2.0), 1.0, &speed, 10.0).unwrap().end, 3.0);
        assert_eq!(span(&cut, &info(60.0), 1.0, &speed, 4.0).unwrap().end, 10.0);
        assert!(span(&cut, &info(2.0), 1.0, &speed, 1.0).is_none());
        let looped = ProbedMedia { looped: true, ..cut };
        assert_eq!(span(&looped, &info(2.0), 1.0, &speed, 10.0).unwrap().end, 3.0);
    }
}
