//! The environment variables of Chrome's processes: a short list, because every renderer has them in its memory.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Variables that are inherited from this process: paths of programs, libraries and fonts.
const INHERITED: &[&str] = &["PATH", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "FONTCONFIG_SYSROOT"];

/// Variables that are inherited where a GPU draws: settings of its drivers.
const INHERITED_WITH_GPU: &[&str] = &[
    "CUDA_VISIBLE_DEVICES",
    "DRI_PRIME",
    "EGL_PLATFORM",
    "GALLIUM_DRIVER",
    "LIBGL_ALWAYS_SOFTWARE",
    "LIBGL_DRIVERS_PATH",
    "LIBVA_DRIVER_NAME",
    "MESA_LOADER_DRIVER_OVERRIDE",
    "MESA_VK_DEVICE_SELECT",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "XDG_DATA_DIRS",
    "__EGL_VENDOR_LIBRARY_DIRS",
    "__EGL_VENDOR_LIBRARY_FILENAMES",
];

/// Variables that have a value of the browser's own.
const OWN: &[&str] = &["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TZ", "LANG"];

/// All variables of a browser whose profile is in `profile`. `own` returns the variables of this process.
pub(super) fn of_browser(
    profile: &Path,
    gpu: bool,
    own: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<(&'static str, OsString)> {
    let with_gpu = if gpu { INHERITED_WITH_GPU } else { &[] };
    let mut variables: Vec<(&str, OsString)> =
        INHERITED.iter().chain(with_gpu).filter_map(|name| Some((*name, own(name)?))).collect();
    let folder = profile.as_os_str();
    for name in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
        variables.push((name, folder.to_owned()));
    }
    variables.push(("TZ", "UTC".into()));
    variables.push(("LANG", "C.UTF-8".into()));
    variables
}

/// Whether a variable of this name may be in the environment of a browser.
pub(super) fn is_listed(name: &OsStr) -> bool {
    let of_browser = OWN.iter().chain(INHERITED).chain(INHERITED_WITH_GPU);
    of_browser.into_iter().any(|listed| *listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_variables_are_inherited() {
        let own = |name: &str| Some(OsString::from(format!("value of {name}")));
        let names = |gpu| {
            let variables = of_browser(Path::new("/tmp/profile"), gpu, &own);
            variables.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        for name in names(true) {
            assert!(!name.starts_with("HYPERFARM_") && !name.starts_with("AWS_") && !name.contains("KEY"), "{name}");
        }
        assert!(names(false).contains(&"PATH") && !names(false).contains(&"VK_DRIVER_FILES"));
        let home = of_browser(Path::new("/tmp/profile"), false, &own).into_iter().find(|(name, _)| *name == "HOME");
        assert_eq!(home.unwrap().1, "/tmp/profile");
    }
}
