//! Which part of a video is shown when beside speech in another language, and the speech as one sound.

use hyperfarm_speech::wav::Sound;
use hyperfarm_speech::{Speech, WordTime};

use super::subtitles::Subtitle;
use crate::lipsync::composition::Piece;
use crate::presenter::SpokenWord;

/// Seconds between two speeches in which the sound of the video is heard, at least.
const LEAST_HEARD: f64 = 0.7;

/// Pieces of a video at most, unless pictures are played more slowly in as many.
const MOST_PIECES: usize = 150;

/// The slowest that pictures are played, as a multiple of their own speed, where a voice can speak fast enough.
const SLOWEST: f64 = 0.5;

/// The fastest that a voice speaks, as a multiple of its own speed.
const FASTEST: f64 = 2.0;

/// What a voice is told to speak faster than it has to: engines keep a speed about.
const MARGIN: f64 = 1.02;

/// Seconds over which a speech that is cut fades out.
const FADE: f64 = 0.01;

/// Seconds of a speech at least.
const LEAST: f64 = 0.05;

/// When speeches begin in a video, and what is shown beside them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dubbing {
    /// The video, from its start to its end.
    pub(crate) pieces: Vec<Piece>,
    /// Second of the output at which each speech begins, and seconds that are heard of it.
    pub(crate) speeches: Vec<(f64, f64)>,
}

/// The subtitles that are said between two seconds of the video, most of each; none begins before the one before it.
pub(crate) fn within(subtitles: Vec<Subtitle>, (start, end): (f64, f64)) -> Vec<Subtitle> {
    let middle = |said: &Subtitle| (said.start + said.end) / 2.0;
    let mut kept: Vec<Subtitle> = subtitles.into_iter().filter(|said| (start..end).contains(&middle(said))).collect();
    for said in &mut kept {
        (said.start, said.end) = (said.start.max(start), said.end.min(end));
    }
    kept.retain(|said| said.end - said.start >= LEAST);
    kept
}

/// Seconds of the video from the start of each subtitle to that of the next one, or to the `end`.
pub(crate) fn slots(subtitles: &[Subtitle], end: f64) -> Vec<f64> {
    let next = subtitles.iter().skip(1).map(|next| next.start).chain(std::iter::once(end));
    subtitles.iter().zip(next).map(|(said, next)| (next - said.start).max(0.0)).collect()
}

/// How fast a voice must speak that takes `length` seconds at its own speed and has a slot of so many seconds; `None` where its own
/// speed will do. Where the length is dynamic, pictures are played more slowly first.
pub(crate) fn speed(length: f64, slot: f64, is_dynamic: bool) -> Option<f64> {
    let room = if is_dynamic { slot / SLOWEST } else { slot };
    (length > room).then(|| (length / room.max(LEAST) * MARGIN).min(FASTEST))
}

impl Dubbing {
    /// Lays speeches of these lengths into a video of `clip` seconds, of which those up to `end` have new speech. Where
    /// `keeps_sound`, its own sound is heard where nobody speaks.
    pub(crate) fn new(clip: f64, end: f64, said: &[(Subtitle, f64)], keeps_sound: bool, is_dynamic: bool) -> Self {
        let dubbing = Self::lay(clip, end, said, keeps_sound, is_dynamic);
        match dubbing.pieces.len() > MOST_PIECES && keeps_sound {
            true => Self::lay(clip, end, said, false, is_dynamic),
            false => dubbing,
        }
    }

    fn lay(clip: f64, end: f64, said: &[(Subtitle, f64)], keeps_sound: bool, is_dynamic: bool) -> Self {
        let subtitles: Vec<Subtitle> = said.iter().map(|(said, _)| said.clone()).collect();
        let (mut pieces, mut speeches) = (Pieces(Vec::new()), Vec::new());
        let mut from = 0.0;
        for ((subtitle, length), slot) in said.iter().zip(slots(&subtitles, end)) {
            let &Subtitle { start, end, .. } = subtitle;
            let gap = start - from;
            // What is before the first speech is no gap between two.
            let is_heard = if from == 0.0 { true } else { keeps_sound && gap >= LEAST_HEARD };
            pieces.show(from, gap, gap, is_heard);
            let begins = pieces.length();
            let is_longer = *length > slot;
            let shown = if is_longer { slot } else { length.max(end - start).min(slot) };
            pieces.show(start, shown, if is_longer && is_dynamic { *length } else { shown }, false);
            speeches.push((begins, if is_dynamic { *length } else { length.min(slot) }));
            from = start + shown;
        }
        pieces.show(from, clip - from, clip - from, keeps_sound || said.is_empty() || clip > end);
        Self { pieces: pieces.0, speeches }
    }
}

/// Pieces of a video that follow each other.
struct Pieces(Vec<Piece>);

impl Pieces {
    /// Seconds of all.
    fn length(&self) -> f64 {
        self.0.last().map_or(0.0, |last| last.start + last.length)
    }

    /// Shows `seconds` of the video from `from` on in `length` seconds. What goes on as before is one piece.
    fn show(&mut self, from: f64, seconds: f64, length: f64, is_heard: bool) {
        if length < 1e-6 {
            return;
        }
        let (start, rate) = (self.length(), seconds / length);
        match self.0.last_mut().filter(|last| last.is_heard == is_heard && last.rate == rate) {
            Some(last) => last.length += length,
            None => self.0.push(Piece { start, length, from: Some(from), rate, is_heard }),
        }
    }
}

/// The speeches as one sound of `total` seconds, each from its second on. They are of one voice. What of one is longer than it is
/// heard fades out.
///
/// # Errors
///
/// They differ in their samples, as those of one voice do not.
pub(crate) fn sound(speeches: &[Speech], places: &[(f64, f64)], total: f64) -> Result<Sound, String> {
    let (rate, channels) = speeches.first().map_or((24_000, 1), |first| (first.sound.rate, first.sound.channels));
    let frame = usize::from(channels);
    let at = |seconds: f64| (seconds * f64::from(rate)).round() as usize;
    let mut samples = vec![0i16; at(total) * frame];
    for (Speech { sound, .. }, (start, heard)) in speeches.iter().zip(places) {
        if (sound.rate, sound.channels) != (rate, channels) {
            return Err("the voice speaks with different sample rates".to_owned());
        }
        let fade = at(FADE).max(1);
        let frames = at(*heard).min(sound.samples.len() / frame);
        let is_cut = frames < sound.samples.len() / frame;
        let place = samples.iter_mut().skip(at(*start) * frame);
        for (index, (to, from)) in place.zip(&sound.samples[..frames * frame]).enumerate() {
            let left = frames - index / frame;
            let gain = if is_cut && left < fade { left as f64 / fade as f64 } else { 1.0 };
            *to = (f64::from(*from) * gain) as i16;
        }
    }
    Ok(Sound { rate, channels, samples })
}

/// The words of a speech by the seconds of the output: as its voice tells, or spread over it by their letters.
pub(crate) fn words(text: &str, speech: &Speech, (start, heard): (f64, f64)) -> Vec<SpokenWord> {
    let told = speech.words.clone().unwrap_or_else(|| spread(text, speech.sound.duration().as_secs_f64()));
    told.iter().filter_map(|word| SpokenWord::of(word).heard((start, heard))).collect()
}

/// The words of a text over so many seconds. Languages without spaces have words of a few letters.
fn spread(text: &str, seconds: f64) -> Vec<WordTime> {
    /// Letters of a word at most, where there are no spaces.
    const LETTERS: usize = 12;
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        let is_spaced = word.is_ascii() || letters.len() <= 2 * LETTERS;
        let most = if is_spaced { letters.len() } else { LETTERS };
        words.extend(letters.chunks(most).map(|part| part.iter().collect::<String>()));
    }
    let letters: usize = words.iter().map(|word| word.chars().count() + 1).sum();
    let mut before = 0;
    let mut timed = Vec::with_capacity(words.len());
    for word in words {
        let count = word.chars().count() + 1;
        let at = |letter: usize| seconds * letter as f64 / letters as f64;
        timed.push(WordTime { word, start: at(before), end: at(before + count) });
        before += count;
    }
    timed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(start: f64, end: f64, length: f64) -> (Subtitle, f64) {
        (Subtitle { start, end, text: "Hello there".to_owned() }, length)
    }

    fn piece(start: f64, length: f64, from: f64, rate: f64, is_heard: bool) -> Piece {
        Piece { start, length, from: Some(from), rate, is_heard }
    }

    #[test]
    fn pictures_are_slower_where_the_speech_is_longer() {
        let all = [said(1.0, 2.0, 1.5), said(3.0, 4.0, 1.0), said(4.0, 5.0, 1.25), said(5.0, 6.0, 0.5)];
        let dubbing = Dubbing::new(8.0, 8.0, &all, true, true);
        let expected = [
            piece(0.0, 1.0, 0.0, 1.0, true),
            // The speech, and a gap in which nothing is worth to be heard.
            piece(1.0, 3.0, 1.0, 1.0, false),
            piece(4.0, 1.25, 4.0, 0.8, false),
            piece(5.25, 1.0, 5.0, 1.0, false),
            piece(6.25, 2.0, 6.0, 1.0, true),
        ];
        assert_eq!(dubbing.pieces, expected);
        assert_eq!(dubbing.speeches, [(1.0, 1.5), (3.0, 1.0), (4.0, 1.25), (5.25, 0.5)]);
    }

    #[test]
    fn a_length_that_is_not_dynamic_is_that_of_the_video() {
        let all = [said(1.0, 2.0, 5.0), said(3.0, 4.0, 1.0)];
        let dubbing = Dubbing::new(8.0, 6.0, &all, false, false);
        let expected =
            [piece(0.0, 1.0, 0.0, 1.0, true), piece(1.0, 3.0, 1.0, 1.0, false), piece(4.0, 4.0, 4.0, 1.0, true)];
        assert_eq!(dubbing.pieces, expected, "what is after the part keeps its sound");
        assert_eq!(dubbing.speeches, [(1.0, 2.0), (3.0, 1.0)]);
        let silent = Dubbing::new(8.0, 8.0, &all, false, false);
        assert_eq!(silent.pieces, [piece(0.0, 1.0, 0.0, 1.0, true), piece(1.0, 7.0, 1.0, 1.0, false)]);
        let none = Dubbing::new(8.0, 8.0, &[], false, true);
        assert_eq!(none.pieces, [piece(0.0, 8.0, 0.0, 1.0, true)]);
    }

    #[test]
    fn many_gaps_are_left_out() {
        let many: Vec<_> =
            (0..200).map(|index| said(f64::from(index) * 3.0, f64::from(index) * 3.0 + 1.0, 1.0)).collect();
        assert_eq!(Dubbing::new(600.0, 600.0, &many, true, true).pieces.len(), 1);
        assert_eq!(Dubbing::new(60.0, 60.0, &many[..20], true, true).pieces.len(), 40);
    }

    #[test]
    fn a_voice_speaks_faster_where_pictures_cannot_be_slower() {
        for (length, slot, is_dynamic, expected) in [
            (1.0, 1.0, false, None),
            (1.5, 1.0, true, None),
            (1.5, 1.0, false, Some(1.5 * MARGIN)),
            (3.0, 1.0, true, Some(1.5 * MARGIN)),
            (9.0, 1.0, false, Some(2.0)),
            (1.0, 0.0, true, Some(2.0)),
        ] {
            assert_eq!(speed(length, slot, is_dynamic), expected, "{length} {slot} {is_dynamic}");
        }
    }

    #[test]
    fn only_what_is_said_in_a_part_is_translated() {
        let all = vec![said(0.0, 1.0, 0.0).0, said(1.5, 2.5, 0.0).0, said(2.9, 3.0, 0.0).0, said(3.5, 5.0, 0.0).0];
        let kept = within(all, (1.9, 3.9));
        let times: Vec<(f64, f64)> = kept.iter().map(|said| (said.start, said.end)).collect();
        assert_eq!(times, [(1.9, 2.5), (2.9, 3.0)]);
        assert_eq!(slots(&kept, 3.9), [1.0, 1.0]);
    }

    #[test]
    fn speeches_are_one_sound_and_a_cut_one_fades() {
        let speech = |rate: u32, frames: usize| Speech {
            sound: Sound { rate, channels: 1, samples: vec![1000; frames] },
            words: None,
        };
        let sound = |speeches: &[Speech]| sound(speeches, &[(0.5, 0.25), (1.0, 0.5)], 2.0);
        let mixed = sound(&[speech(1000, 250), speech(1000, 800)]).unwrap();
        assert_eq!((mixed.samples.len(), mixed.samples[499], mixed.samples[500]), (2000, 0, 1000));
        assert_eq!((mixed.samples[749], mixed.samples[750], mixed.samples[1000]), (1000, 0, 1000));
        assert_eq!(mixed.samples[1490..1501], [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]);
        assert!(sound(&[speech(1000, 9), speech(2000, 9)]).is_err());
        assert_eq!(super::sound(&[], &[], 1.0).unwrap().samples.len(), 24_000);
    }

    #[test]
    fn words_are_told_or_spread() {
        let sound = Sound { rate: 1000, channels: 1, samples: vec![0; 1200] };
        let spread = words("Hello there", &Speech { sound: sound.clone(), words: None }, (2.0, 1.0));
        let times: Vec<(&str, f64, f64)> = spread.iter().map(|word| (&*word.word, word.start, word.end)).collect();
        assert_eq!(times, [("Hello", 2.0, 2.6), ("there", 2.6, 3.0)]);
        let told = Some(vec![WordTime { word: "Hi".to_owned(), start: 0.25, end: 0.5 }]);
        let told = words("Hi", &Speech { sound, words: told }, (2.0, 1.0));
        assert_eq!((told.len(), told[0].start, told[0].end), (1, 2.25, 2.5));
        assert_eq!(super::spread("日本語のとても長い文章がここに続いていますよね本当に", 1.0).len(), 3);
    }
}
