//! Pictures in the memory of a device (VA-API).

use std::ffi::c_int;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::{ffi, frame};

/// A device whose memory pictures are copied into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceMemory {
    /// What encoders of VA-API take.
    Vaapi,
    /// A Vulkan device: the same calls, for tests where there is no VA-API.
    #[cfg(test)]
    Vulkan,
}

/// Pictures of one size in a device's memory, in NV12.
pub(crate) struct DeviceFrames(*mut ffi::AVBufferRef);

// SAFETY: the reference is owned, FFmpeg's buffers count references atomically, and nothing of it is bound to a thread.
unsafe impl Send for DeviceFrames {}

impl Drop for DeviceFrames {
    fn drop(&mut self) {
        // SAFETY: the reference is ours and not used again.
        unsafe { ffi::av_buffer_unref(&raw mut self.0) };
    }
}

impl DeviceFrames {
    /// Pictures on the first device of this kind: as many as an encoder without B-frames holds at once, and some.
    pub(crate) fn open(memory: DeviceMemory, width: u32, height: u32) -> Result<Self, ffmpeg::Error> {
        const PICTURES: c_int = 16;
        let (kind, format) = match memory {
            DeviceMemory::Vaapi => (ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VAAPI, ffi::AVPixelFormat::AV_PIX_FMT_VAAPI),
            #[cfg(test)]
            DeviceMemory::Vulkan => {
                (ffi::AVHWDeviceType::AV_HWDEVICE_TYPE_VULKAN, ffi::AVPixelFormat::AV_PIX_FMT_VULKAN)
            }
        };
        let mut device = std::ptr::null_mut();
        // SAFETY: the library writes a new reference or leaves null; no name and no options are given.
        let answer =
            unsafe { ffi::av_hwdevice_ctx_create(&raw mut device, kind, std::ptr::null(), std::ptr::null_mut(), 0) };
        if answer < 0 {
            return Err(answer.into());
        }
        // SAFETY: the device was just made; the frames take a reference of their own, so ours is given up. Their description is ours
        // until `init`, which reads it; whatever fails, the drop gives the frames up.
        unsafe {
            let frames = Self(ffi::av_hwframe_ctx_alloc(device));
            ffi::av_buffer_unref(&raw mut device);
            if frames.0.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            let description = (*frames.0).data.cast::<ffi::AVHWFramesContext>();
            (*description).format = format;
            (*description).sw_format = ffi::AVPixelFormat::AV_PIX_FMT_NV12;
            (*description).width = width as c_int;
            (*description).height = height as c_int;
            if memory == DeviceMemory::Vaapi {
                (*description).initial_pool_size = PICTURES;
            }
            match ffi::av_hwframe_ctx_init(frames.0) {
                0.. => Ok(frames),
                error => Err(error.into()),
            }
        }
    }

    /// Tells an encoder that is not open yet that its pictures come from here.
    pub(crate) fn feed(&self, encoder: &mut ffmpeg::codec::encoder::video::Video) -> Result<(), ffmpeg::Error> {
        // SAFETY: the context is ours and not open; it owns the new reference and gives it up when it is freed.
        unsafe {
            let reference = ffi::av_buffer_ref(self.0);
            if reference.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            (*encoder.as_mut_ptr()).hw_frames_ctx = reference;
        }
        Ok(())
    }

    /// A copy of `picture`, which has NV12 planes of this size, in the device's memory.
    pub(crate) fn upload(&self, picture: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
        let mut there = frame::Video::empty();
        // SAFETY: both frames are live; the new one gets its buffer from the pool and owns it.
        unsafe {
            match ffi::av_hwframe_get_buffer(self.0, there.as_mut_ptr(), 0) {
                0 => {}
                error => return Err(error.into()),
            }
            match ffi::av_hwframe_transfer_data(there.as_mut_ptr(), picture.as_ptr(), 0) {
                0 => Ok(there),
                error => Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn download(there: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
    let mut here = frame::Video::empty();
    // SAFETY: both frames are live; the library allocates the empty one in the pool's own format.
    match unsafe { ffi::av_hwframe_transfer_data(here.as_mut_ptr(), there.as_ptr(), 0) } {
        0 => Ok(here),
        error => Err(error.into()),
    }
}
