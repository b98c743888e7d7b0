//! What a child does first.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The last of the standard files' numbers.
const STANDARD_ERROR: RawFd = 2;

/// Makes this process a child: closes every file but the standard ones, and ends the process when its parent's end of
/// the socket is closed. Returns the socket, which is standard input, and the file of the parent, which is standard
/// output.
///
/// # Errors
/// The standard files are no such files, or the system has no memory for them.
pub fn enter() -> io::Result<(UnixStream, File)> {
    close_inherited()?;
    let parent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    end_with(parent.try_clone()?);
    Ok((parent, file))
}

/// Closes all files but the standard ones: the parent's own parent may have left some open.
fn close_inherited() -> io::Result<()> {
    let names: io::Result<Vec<_>> = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name())).collect();
    let files = names?.into_iter().filter_map(|name| name.to_str()?.parse::<RawFd>().ok());
    for file in files.filter(|file| *file > STANDARD_ERROR) {
        // Fails for the folder's own file only, which is closed already.
        let _ = nix::unistd::close(file);
    }
    Ok(())
}

/// Ends this process when the parent's end of the socket is closed, also in the midst of its work. `PR_SET_PDEATHSIG`
/// would end it with the thread of the parent that started it, which may be gone before the last request.
///
/// The thread has its stack and its part of the heap when this returns: [`confine`](crate::confine) counts them as memory
/// that the process has already.
fn end_with(parent: UnixStream) {
    let begun = Arc::new(Barrier::new(2));
    let thread_begun = begun.clone();
    std::thread::spawn(move || {
        // The first allocation of a thread reserves its part of the heap.
        drop(std::hint::black_box(Box::new(0_u8)));
        thread_begun.wait();
        loop {
            let mut ends = [PollFd::new(parent.as_fd(), PollFlags::empty())];
            match poll(&mut ends, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) | Ok(0) => {}
                Ok(_) | Err(_) => std::process::abort(),
            }
        }
    });
    begun.wait();
}
