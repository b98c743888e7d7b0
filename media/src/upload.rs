//! Copies frames from the processor's memory into that of a GPU, for encoders that read them there.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::spec::Size;

use crate::ffi::{self, DeviceFrames, DeviceMemory};

/// Copies frames into the memory of a device.
pub(crate) struct Upload {
    frames: DeviceFrames,
    staged: frame::Video,
}

impl Upload {
    /// An upload of frames of `size`, both sides even.
    pub(crate) fn open(size: Size) -> Result<Self, ffmpeg_next::Error> {
        Self::into(DeviceMemory::Vaapi, size)
    }

    fn into(memory: DeviceMemory, size: Size) -> Result<Self, ffmpeg_next::Error> {
        let frames = DeviceFrames::open(memory, size.width, size.height)?;
        Ok(Self { frames, staged: frame::Video::new(Pixel::NV12, size.width, size.height) })
    }

    /// Makes an encoder that is not open yet read its frames from the device's memory.
    pub(crate) fn attach_to(
        &self,
        encoder: &mut ffmpeg_next::codec::encoder::video::Video,
    ) -> Result<(), ffmpeg_next::Error> {
        self.frames.attach_to(encoder)
    }

    /// Copies `picture` (8-bit 4:2:0 planes) into the device's memory.
    pub(crate) fn copy(&mut self, picture: &frame::Video) -> Result<frame::Video, ffmpeg_next::Error> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let [mut luma, mut chroma, ..] = ffi::planes_mut(&mut self.staged);
        let row = |plane: usize, y: usize, bytes: usize| &picture.data(plane)[y * picture.stride(plane)..][..bytes];
        for y in 0..height {
            luma.row(y, width).copy_from_slice(row(0, y, width));
        }
        for y in 0..height / 2 {
            let pairs = chroma.row(y, width).as_chunks_mut::<2>().0.iter_mut();
            for (pair, (blue, red)) in pairs.zip(row(1, y, width / 2).iter().zip(row(2, y, width / 2))) {
                *pair = [*blue, *red];
            }
        }
        self.frames.upload(&self.staged)
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_testing::Requirement;

    use super::*;

    /// VA-API needs a device. The copy is the same for Vulkan, which Mesa has in software.
    #[test]
    fn pictures_arrive_in_a_devices_memory() {
        let size = Size { width: 64, height: 36 };
        let mut upload = match Upload::into(DeviceMemory::Vulkan, size) {
            Ok(upload) => upload,
            Err(error) => return Requirement::Gpu.skip(format!("there is no Vulkan device: {error}")),
        };
        let mut picture = frame::Video::new(Pixel::YUV420P, size.width, size.height);
        for plane in 0..3 {
            for (at, byte) in picture.data_mut(plane).iter_mut().enumerate() {
                *byte = (at * 7 + plane * 50) as u8;
            }
        }
        let back = ffi::download(&upload.copy(&picture).unwrap()).unwrap();
        assert_eq!(back.format(), Pixel::NV12);
        for y in 0..36 {
            let (one, other) =
                (&back.data(0)[y * back.stride(0)..][..64], &picture.data(0)[y * picture.stride(0)..][..64]);
            assert_eq!(one, other, "row {y}");
        }
        for y in 0..18 {
            let row = &back.data(1)[y * back.stride(1)..][..64];
            for (x, pair) in row.chunks_exact(2).enumerate() {
                let of = |plane: usize| picture.data(plane)[y * picture.stride(plane) + x];
                assert_eq!(pair, [of(1), of(2)], "row {y}");
            }
        }
    }
}
