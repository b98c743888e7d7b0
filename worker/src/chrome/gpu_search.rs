//! The search for a GPU: Chrome is started with each interface, and asked which device it draws with.

use hyperfarm_proto::spec::{Size, Viewport};

use super::config::{ChromeConfig, LaunchKey};
use super::gpu::{GlInterface, Gpu, GpuMode, GpuPart};
use super::launch::Chrome;
use crate::error::{ChromeError, WorkerError};

impl ChromeConfig {
    /// This configuration with the GPU that the settings ask for, found by starting Chrome with it.
    ///
    /// # Errors
    ///
    /// [`ChromeError::NoGpu`] where a GPU is required and none draws; the text says what was tried and what to do.
    pub async fn with_gpu(mut self) -> Result<Self, WorkerError> {
        self.gpu = None;
        let part = match self.gpu_config.mode {
            GpuMode::Off => return Ok(self),
            GpuMode::Auto => GpuPart::Webgl,
            GpuMode::Required(part) => part,
        };
        let (mut tried, mut in_software) = (Vec::new(), None);
        for interface in [GlInterface::Vulkan, GlInterface::Egl] {
            if self.gpu_config.interface.is_some_and(|wanted| wanted != interface) {
                continue;
            }
            match self.try_gpu(Gpu { part, interface, device: String::new() }).await {
                Ok(gpu) if !gpu.is_software() => {
                    tracing::info!(%gpu, "a GPU draws");
                    return Ok(Self { gpu: Some(gpu), ..self });
                }
                Ok(gpu) => {
                    tried.push(format!("over {} there is {}, which is the processor", interface.name(), gpu.device));
                    in_software = in_software.or(Some(gpu));
                }
                Err(error) => tried.push(format!("over {} {error}", interface.name())),
            }
        }
        if let Some(gpu) = in_software.filter(|_| self.gpu_config.software) {
            tracing::warn!(%gpu, "a software device draws in place of a GPU, because HYPERFARM_GPU_SOFTWARE allows it");
            return Ok(Self { gpu: Some(gpu), ..self });
        }
        let tried = tried.join("; ");
        if self.gpu_config.mode == GpuMode::Auto {
            tracing::info!(%tried, "no GPU draws here; the processor draws");
            return Ok(self);
        }
        let text = format!(
            "HYPERFARM_GPU={}, and no GPU draws here: {tried}. Install the card's driver with its Vulkan or EGL library and give the \
             worker its device files (for NVIDIA in a container NVIDIA_DRIVER_CAPABILITIES=graphics,video,utility; elsewhere \
             /dev/dri/renderD128), or set HYPERFARM_GPU to auto or off",
            part.name()
        );
        Err(ChromeError::NoGpu(text).into())
    }

    /// Starts Chrome for `gpu` and returns it with the name of the device that draws.
    async fn try_gpu(&self, gpu: Gpu) -> Result<Gpu, WorkerError> {
        let config = Self { gpu: Some(gpu.clone()), ..self.clone() };
        let viewport = Viewport { page: Size { width: 64, height: 64 }, scale: 1 };
        // No page is opened, so nothing connects to the port.
        let mut chrome = Chrome::launch(&config, LaunchKey { viewport, server_port: 9 }).await?;
        let device = chrome.drawing_device().await;
        chrome.kill().await;
        let device = device?;
        device.check_part(gpu.part)?;
        Ok(Gpu { device: device.device, ..gpu })
    }
}
