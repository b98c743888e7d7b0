//! Object keys that only the coordinator reads and writes. Those that workers share are in [`hyperfarm_proto::keys`].

use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys::render_prefix;

/// Folder of the marks of open renders.
pub(crate) const OPEN_MARKS: &str = "open";

/// The mark of an open render. It is stored before the request, and removed once everything that follows the render's end is done.
/// Its value is the [`Intake`](crate::submission::Intake).
pub(crate) fn open_mark(render: &RenderId) -> String {
    format!("{OPEN_MARKS}/{render}")
}

/// Exists once every open render is known to have its mark.
pub(crate) const OPEN_MARKS_COMPLETE: &str = "farm/open-marks-complete";

/// Folder of the marks of removals that are to come, with a folder for each hour.
pub(crate) const EXPIRY_MARKS: &str = "farm/expiring";

/// The mark that a part of an ended render is due for removal in this hour since 1970.
pub(crate) fn expiry_mark(hour: u64, render: &RenderId, part: &str) -> String {
    format!("{EXPIRY_MARKS}/{hour:010}/{render}-{part}")
}

/// The mark of a deleted render. Objects of the render may still be in storage.
pub(crate) fn tombstone(render: &RenderId) -> String {
    format!("{}/deleted.json", render_prefix(render))
}

/// The mark of a paused render: no more of its tasks are dispatched.
pub(crate) fn pause_mark(render: &RenderId) -> String {
    format!("{}/paused.json", render_prefix(render))
}

/// The render's [`Intake`](crate::submission::Intake).
pub(crate) fn intake(render: &RenderId) -> String {
    format!("{}/intake.json", render_prefix(render))
}

/// The render's [`Timeline`](crate::timeline::Timeline), stored when it ends.
pub(crate) fn timeline(render: &RenderId) -> String {
    format!("{}/timeline.json", render_prefix(render))
}

/// Folder of the marks of a space's renders.
pub(crate) fn space_renders(space: &Space) -> String {
    format!("spaces/{space}/renders")
}

/// Folder of the marks of a space's presenter videos.
pub(crate) fn space_videos(space: &Space) -> String {
    format!("spaces/{space}/videos")
}

/// The mark of a presenter video of a space.
pub(crate) fn space_video(space: &Space, render: &RenderId) -> String {
    format!("{}/{render}", space_videos(space))
}

/// Folder of the marks of a space's lipsyncs.
pub(crate) fn space_lipsyncs(space: &Space) -> String {
    format!("spaces/{space}/lipsyncs")
}

/// The mark of a lipsync of a space.
pub(crate) fn space_lipsync(space: &Space, render: &RenderId) -> String {
    format!("{}/{render}", space_lipsyncs(space))
}

/// Folder of the marks of a space's translations.
pub(crate) fn space_translations(space: &Space) -> String {
    format!("spaces/{space}/translations")
}

/// The mark of a translation of a space.
pub(crate) fn space_translation(space: &Space, render: &RenderId) -> String {
    format!("{}/{render}", space_translations(space))
}

/// The mark that a render belongs to a space.
pub(crate) fn space_render(space: &Space, render: &RenderId) -> String {
    format!("{}/{render}", space_renders(space))
}
