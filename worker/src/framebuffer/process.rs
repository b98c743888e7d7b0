//! The memory of another process.

use std::io::IoSliceMut;
use std::ops::Range;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::chrome::{ProcessKind, process_tree};

/// Why the memory of a process was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The kernel refused.
    #[error("Chrome's memory cannot be read: {0}{advice}", advice = advice(*.0))]
    Refused(Errno),
    /// Only the beginning of the range is readable.
    #[error("Chrome's memory ends after {found} of {requested} bytes")]
    Short {
        /// Bytes read.
        found: usize,
        /// Bytes requested.
        requested: usize,
    },
    /// The list of mappings cannot be read.
    #[error("there is no list of the memory of Chrome's process {0}")]
    Maps(i32),
}

fn advice(error: Errno) -> &'static str {
    match error {
        Errno::EPERM | Errno::EACCES => {
            "; run the worker and Chrome as the same user, or give the worker CAP_SYS_PTRACE, and see kernel.yama.ptrace_scope"
        }
        _ => "",
    }
}

/// Chrome's GPU process.
#[derive(Debug)]
pub struct GpuProcess(Pid);

impl GpuProcess {
    /// The GPU process among the descendants of process `browser`.
    pub fn of(browser: u32) -> Option<Self> {
        let is_gpu = |process: &u32| ProcessKind::of_process(*process) == Some(ProcessKind::Gpu);
        process_tree(browser).into_iter().find(is_gpu).and_then(Self::with_id)
    }

    /// The process with this id, whatever it runs.
    pub fn with_id(id: u32) -> Option<Self> {
        Some(Self(Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// Its id.
    pub fn id(&self) -> i32 {
        self.0.as_raw()
    }

    /// Copies memory from `address` into all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`ReadError::Refused`] or [`ReadError::Short`].
    pub fn read(&self, address: usize, bytes: &mut [u8]) -> Result<(), ReadError> {
        let requested = bytes.len();
        let remote = [RemoteIoVec { base: address, len: requested }];
        match process_vm_readv(self.0, &mut [IoSliceMut::new(bytes)], &remote) {
            Ok(found) if found == requested => Ok(()),
            Ok(found) => Err(ReadError::Short { found, requested }),
            Err(error) => Err(ReadError::Refused(error)),
        }
    }

    /// Writable address ranges of at least `bytes` bytes, with adjacent ranges joined.
    ///
    /// # Errors
    ///
    /// [`ReadError::Maps`].
    pub fn writable(&self, bytes: usize) -> Result<Vec<Range<usize>>, ReadError> {
        let id = self.0.as_raw();
        let text = std::fs::read_to_string(format!("/proc/{id}/maps")).map_err(|_| ReadError::Maps(id))?;
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for range in text.lines().filter_map(writable_range) {
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges.retain(|range| range.len() >= bytes);
        Ok(ranges)
    }
}

/// The range of a line of `/proc/PID/maps`, if the mapping is writable.
fn writable_range(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if !fields.next()?.starts_with("rw") {
        return None;
    }
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_its_process_and_not_from_beside_it() {
        let here = GpuProcess::with_id(std::process::id()).unwrap();
        let secret = vec![7_u8; 100_000];
        let address = secret.as_ptr() as usize;
        let mut read = vec![0; secret.len()];
        here.read(address, &mut read).unwrap();
        assert_eq!(read, secret);
        assert!(here.writable(1).unwrap().iter().any(|range| range.contains(&address)));
        assert_eq!(here.read(8, &mut read), Err(ReadError::Refused(Errno::EFAULT)));
        let gone = GpuProcess::with_id(i32::MAX as u32).unwrap();
        assert_eq!(gone.read(address, &mut read), Err(ReadError::Refused(Errno::ESRCH)));
        assert!(matches!(gone.writable(1), Err(ReadError::Maps(_))));
        assert!(ReadError::Refused(Errno::EPERM).to_string().contains("CAP_SYS_PTRACE"));
    }

    #[test]
    fn mappings_are_read_line_by_line() {
        let line = "7f12a000-7f12b000 rw-p 00000000 00:00 0 [heap]";
        assert_eq!(writable_range(line), Some(0x7f12_a000..0x7f12_b000));
        assert_eq!(writable_range("7f12a000-7f12b000 r--p 00000000 00:00 0"), None);
        assert_eq!(writable_range(""), None);
    }

    #[test]
    fn a_process_without_a_browser_has_no_gpu_process() {
        assert!(GpuProcess::of(std::process::id()).is_none());
    }
}
