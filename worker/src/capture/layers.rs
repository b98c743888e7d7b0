//! Videos of high dynamic range in a frame: the page is read with them black, and once for each with it white.

use std::sync::Arc;

use hyperfarm_media::{Bitmap, HdrLayer, HdrPicture, PixelLayout, Placement};
use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::spec::Size;

use super::frame::{GrabbedFrame, hash_of};
use crate::error::WorkerError;
use crate::host::VideoLayer;

/// A frame with videos of high dynamic range in it.
#[derive(Debug)]
pub struct LayeredFrame {
    /// The page with every such video black; never [`GrabbedFrame::Same`].
    pub(super) page: GrabbedFrame,
    /// The videos of which anything is seen.
    pub(super) layers: Vec<FrameLayer>,
}

/// A video in a frame.
#[derive(Debug)]
pub(super) struct FrameLayer {
    pub(super) shown: VideoLayer,
    /// The page with this video white; never [`GrabbedFrame::Same`].
    pub(super) white: GrabbedFrame,
    pub(super) picture: Arc<HdrPicture>,
    pub(super) placement: Placement,
}

/// A video in the frame that is encoded now.
#[derive(Debug)]
pub(super) struct DecodedLayer {
    shown: VideoLayer,
    white: Pixels,
    picture: Arc<HdrPicture>,
    placement: Placement,
}

#[derive(Debug)]
struct Pixels(GrabbedFrame, Vec<u8>);

impl Pixels {
    fn of(frame: GrabbedFrame, size: Size) -> Result<Self, WorkerError> {
        let mut decoded = Vec::new();
        frame.decode_into(size, &mut decoded)?;
        Ok(Self(frame, decoded))
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            GrabbedFrame::Raw(frame) => frame.bytes(),
            _ => &self.1,
        }
    }
}

impl FrameLayer {
    pub(super) fn decoded(self, size: Size) -> Result<DecodedLayer, WorkerError> {
        let Self { shown, white, picture, placement } = self;
        Ok(DecodedLayer { shown, white: Pixels::of(white, size)?, picture, placement })
    }
}

impl DecodedLayer {
    /// The layer for the encoder, in a frame of `size`.
    pub(super) fn as_layer(&self, size: Size) -> HdrLayer<'_> {
        let layout = PixelLayout::Bgra;
        let white = Bitmap { data: self.white.bytes(), stride: size.width as usize * layout.bytes(), size, layout };
        HdrLayer { white, picture: &self.picture, placement: &self.placement }
    }
}

/// The hash of a frame: of its pixels, and of the pictures that are seen in it with their places.
pub(super) fn layered_hash(page: &[u8], layers: &[DecodedLayer]) -> FrameHash {
    let hash = hash_of(page);
    let mut text = hash.to_string();
    let mut is_plain = true;
    for DecodedLayer { shown, white, placement, .. } in layers.iter().filter(|layer| layer.white.bytes() != page) {
        let place = hash_of(&placement.bytes());
        text.push_str(&format!(" {} {} {} {place}", shown.video, shown.number, hash_of(white.bytes())));
        is_plain = false;
    }
    if is_plain { hash } else { hash_of(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_told_apart_by_what_its_videos_show() {
        let size = Size { width: 1, height: 1 };
        let corners = |left: f64| [[left, 0.0], [left + 1.0, 0.0], [left + 1.0, 1.0], [left, 1.0]];
        let layer = |number: u64, left: f64, white: u8| DecodedLayer {
            shown: VideoLayer { video: 0, number, id: "v".to_owned(), size },
            white: Pixels(GrabbedFrame::Same, vec![white; 4]),
            picture: Arc::new(HdrPicture { size, rgb: vec![[0; 3]], transfer: None, wide: false }),
            placement: Placement::new(corners(left), [1.0, 1.0], [0.0, 0.0, 1.0, 1.0], size).unwrap(),
        };
        let hash = |number, left| layered_hash(&[0; 4], &[layer(number, left, 255)]);
        assert_eq!(hash(1, 0.0), hash(1, 0.0));
        assert_ne!(hash(1, 0.0), hash(2, 0.0));
        assert_ne!(hash(1, 0.0), hash(1, 1.0));
        // A video of which nothing is seen counts for nothing.
        assert_eq!(layered_hash(&[0; 4], &[layer(1, 0.0, 0)]), hash_of(&[0; 4]));
    }
}
