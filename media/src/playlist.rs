//! Playlists of HTTP Live Streaming (RFC 8216), for fragments of [`crate::video_fragments`] and
//! [`crate::audio_fragments`].

/// Whether a playlist is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaylistKind {
    /// Fragments are added at its end until it is complete. A player begins with the first one.
    Growing {
        /// Whether the last fragment is there.
        is_complete: bool,
    },
    /// All fragments are there.
    Final,
}

/// The playlist of a rendition: its initialization segment `header`, and the seconds and names of its fragments in order.
/// `longest` is the seconds of the longest fragment, also of those that are not there yet, because it must not change.
pub fn media_playlist(
    header: &str,
    longest: f64,
    fragments: impl Iterator<Item = (f64, String)>,
    kind: PlaylistKind,
) -> String {
    let kind_lines = match kind {
        PlaylistKind::Growing { .. } => "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-START:TIME-OFFSET=0\n",
        PlaylistKind::Final => "#EXT-X-PLAYLIST-TYPE:VOD\n",
    };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n{kind_lines}#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"{header}\"\n",
        longest.ceil().max(1.0)
    );
    for (seconds, name) in fragments {
        text.push_str(&format!("#EXTINF:{seconds:.6},\n{name}\n"));
    }
    if kind != (PlaylistKind::Growing { is_complete: false }) {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_grows_and_ends() {
        let pieces = |count: usize| (0..count).map(|number| (1.001, format!("{number}.m4s")));
        let playlist = |count, is_complete| {
            media_playlist("init.mp4", 1.001, pieces(count), PlaylistKind::Growing { is_complete })
        };
        let (first, all) = (playlist(1, false), playlist(2, true));
        assert!(all.starts_with(&first), "{all}");
        assert!(
            first.contains("#EXT-X-TARGETDURATION:2\n") && first.ends_with("#EXTINF:1.001000,\n0.m4s\n"),
            "{first}"
        );
        assert!(all.ends_with("1.m4s\n#EXT-X-ENDLIST\n"), "{all}");
        let finished = media_playlist("init.mp4", 1.001, pieces(2), PlaylistKind::Final);
        assert!(finished.contains(":VOD\n") && finished.ends_with("1.m4s\n#EXT-X-ENDLIST\n"), "{finished}");
    }
}
