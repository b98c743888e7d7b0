//! Pictures in the memory of a device (VA-API).

use std::ffi::c_int;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::{ffi, frame};

/// A kind of device whose memory frames are copied into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceMemory {
    /// Memory of VA-API encoders.
    Vaapi,
    /// A Vulkan device: the same calls, for tests where there is no VA-API.
    #[cfg(test)]
    Vulkan,
}

/// A pool of NV12 frames of one size in a device's memory.
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
    /// A pool of frames on the first device of this kind, as many as an encoder without B-frames holds at once and a
    /// few more.
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
        // SAFETY: the device was just created; the frames hold a reference of their own, so ours is released. Their
        // description is ours until `init`, which reads it. Whatever fails, dropping `frames` releases them.
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

    /// Makes an encoder that is not open yet read its frames from this pool.
    pub(crate) fn attach_to(&self, encoder: &mut ffmpeg::codec::encoder::video::Video) -> Result<(), ffmpeg::Error> {
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

    /// Copies `picture`, which has NV12 planes of the pool's size, into the device's memory.
    pub(crate) fn upload(&self, picture: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
        let mut uploaded = frame::Video::empty();
        // SAFETY: both frames are live; the new one gets its buffer from the pool and owns it.
        unsafe {
            match ffi::av_hwframe_get_buffer(self.0, uploaded.as_mut_ptr(), 0) {
                0 => {}
                error => return Err(error.into()),
            }
            match ffi::av_hwframe_transfer_data(uploaded.as_mut_ptr(), picture.as_ptr(), 0) {
                0 => Ok(uploaded),
                error => Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn download(uploaded: &frame::Video) -> Result<frame::Video, ffmpeg::Error> {
    let mut downloaded = frame::Video::empty();
    // SAFETY: both frames are live; the library allocates the empty one in the pool's own format.
    match unsafe { ffi::av_hwframe_transfer_data(downloaded.as_mut_ptr(), uploaded.as_ptr(), 0) } {
        0 => Ok(downloaded),
        error => Err(error.into()),
    }
}
