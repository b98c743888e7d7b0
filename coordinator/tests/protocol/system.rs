//! The operating system as a simulation sees it: its clocks stand still while code runs and go to the next timer when all
//! of it waits, its random numbers come from the seed, and each simulation is a process of its own.
//!
//! The standard library and Tokio ask libc for the time (`clock_gettime`), for random numbers (`getrandom`, the keys of
//! hash maps), for events (`epoll_wait`) and for folders (`opendir`). These functions are defined here, so they are what
//! the test binary is linked with. On a thread that does not simulate they do what libc's do. So the code under test is the
//! one that ships: it has no clock to be replaced, and Tokio has no other features than in the binary.

#![allow(unsafe_code)] // libc's functions are defined here, and a process is forked

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int, c_uint, c_void, clockid_t, epoll_event, size_t, ssize_t, timespec};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe};

const SECOND: u64 = 1_000_000_000;

/// Unix time in nanoseconds at which a simulation begins.
const EPOCH: u64 = 1_800_000_000 * SECOND;

/// What the monotonic clock shows then.
const UPTIME: u64 = 1_000 * SECOND;

/// Longest time of the real clock for one simulation. Most take less than a second.
const HANGS_AFTER: u16 = 60_000;

thread_local! {
    /// Nanoseconds since the simulation of this thread began.
    static ELAPSED: Cell<Option<u64>> = const { Cell::new(None) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// Lets this thread simulate from now on. Its hash maps have keys of the seed if it has made none before.
pub(crate) fn simulate(seed: u64) {
    RANDOM.set(seed);
    ELAPSED.set(Some(0));
    fastrand::seed(seed);
}

/// Nanoseconds since the simulation began.
pub(crate) fn elapsed() -> u64 {
    ELAPSED.get().unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let start = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH,
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME => {
            UPTIME
        }
        _ => 0,
    };
    match ELAPSED.try_with(Cell::get) {
        Ok(Some(elapsed)) if start > 0 => {
            let now = start + elapsed;
            // SAFETY: the caller passes a valid pointer, as for libc's function.
            unsafe { time.write(timespec { tv_sec: (now / SECOND) as i64, tv_nsec: (now % SECOND) as i64 }) };
            0
        }
        // SAFETY: the arguments are the caller's.
        _ => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int },
    }
}

#[unsafe(no_mangle)]
extern "C" fn getrandom(bytes: *mut c_void, count: size_t, flags: c_uint) -> ssize_t {
    if !matches!(ELAPSED.try_with(Cell::get), Ok(Some(_))) {
        // SAFETY: the arguments are the caller's.
        return unsafe { libc::syscall(libc::SYS_getrandom, bytes, count, flags) as ssize_t };
    }
    let mut random = fastrand::Rng::with_seed(RANDOM.get());
    for index in 0..count {
        // SAFETY: the caller passes a buffer of `count` bytes.
        unsafe { bytes.cast::<u8>().add(index).write(random.u8(..)) };
    }
    RANDOM.set(random.u64(..));
    count as ssize_t
}

#[unsafe(no_mangle)]
extern "C" fn epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, timeout_ms: c_int) -> c_int {
    let wait = |timeout_ms: c_int| {
        // SAFETY: the arguments are the caller's.
        unsafe { libc::syscall(libc::SYS_epoll_wait, epoll, events, most, timeout_ms) as c_int }
    };
    let Ok(Some(elapsed)) = ELAPSED.try_with(Cell::get) else { return wait(timeout_ms) };
    let ready = wait(0);
    if ready == 0 && timeout_ms > 0 {
        ELAPSED.set(Some(elapsed + timeout_ms as u64 * 1_000_000));
    }
    ready
}

/// A simulation has no folders: what a node measures of the other processes of the machine is nothing.
#[unsafe(no_mangle)]
extern "C" fn opendir(name: *const c_char) -> *mut libc::DIR {
    if matches!(ELAPSED.try_with(Cell::get), Ok(Some(_))) {
        Errno::ENOENT.set();
        return std::ptr::null_mut();
    }
    // SAFETY: libc has a function of this name and type.
    let next = unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"opendir".as_ptr());
        std::mem::transmute::<*mut c_void, extern "C" fn(*const c_char) -> *mut libc::DIR>(next)
    };
    next(name)
}

/// The answer of a child, or how it ended without one.
type Answer = Result<Vec<u8>, String>;

struct Child {
    seed: u64,
    process: Pid,
    answer: File,
}

/// Answers each seed in a process of its own, `at_once` of them at a time, and passes the answers on in order, until `take`
/// returns false. A process is a copy of this one, so no seed before it changes what it does.
pub(crate) fn in_children(
    seeds: impl IntoIterator<Item = u64>,
    at_once: usize,
    answer: impl Fn(u64) -> Vec<u8> + Sync,
    mut take: impl FnMut(u64, Answer) -> bool,
) {
    let (mut seeds, mut children) = (seeds.into_iter(), VecDeque::new());
    loop {
        while children.len() < at_once
            && let Some(seed) = seeds.next()
        {
            children.push_back(start(seed, &answer));
        }
        let Some(child) = children.pop_front() else { return };
        let seed = child.seed;
        if !take(seed, end(child)) {
            children.into_iter().for_each(|child| drop(end(child)));
            return;
        }
    }
}

fn start(seed: u64, answer: &(impl Fn(u64) -> Vec<u8> + Sync)) -> Child {
    let (reads, writes) = pipe().unwrap();
    // SAFETY: the child uses what this thread has, and ends without running what other threads of the parent hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => Child { seed, process: child, answer: reads.into() },
        ForkResult::Child => {
            // On a thread that has made no hash map and no random number yet.
            let answered = std::thread::scope(|scope| scope.spawn(|| answer(seed)).join());
            if let Ok(bytes) = answered {
                let mut writes = File::from(writes);
                let _ = writes.write_all(&(bytes.len() as u64).to_le_bytes()).and_then(|()| writes.write_all(&bytes));
            }
            // SAFETY: nothing of this process is needed any more, and what belongs to the parent is left alone.
            unsafe { libc::_exit(0) }
        }
    }
}

fn end(mut child: Child) -> Answer {
    let ready = poll(&mut [PollFd::new(child.answer.as_fd(), PollFlags::POLLIN)], PollTimeout::from(HANGS_AFTER));
    let answer = if ready == Ok(0) {
        let _ = kill(child.process, Signal::SIGKILL);
        Err("it hangs: its time stands still".to_owned())
    } else {
        read(&mut child.answer).map_err(|error| format!("its process ended without an answer: {error}"))
    };
    let _ = waitpid(child.process, None);
    answer
}

fn read(from: &mut File) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
