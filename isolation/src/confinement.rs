//! Takes rights from processes: from this one whatever parsing and decoding do not need, from other programs what
//! administers the kernel.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Most files that are open at a time.
const OPEN_FILES: u64 = 32;

/// Seconds between the signal that a process is out of processor time and its end, should it ignore the signal.
const CPU_GRACE: u64 = 5;

/// Value of `/proc/self/oom_score_adj` with which the system, out of memory, ends this process first.
const FIRST_TO_END: &str = "1000";

/// System calls that parsing and decoding need. Each is on what the process has already: memory, its socket, its file. None
/// takes a path, and none reaches another process.
const ALLOWED: [libc::c_long; 35] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_write,
];

/// System calls that administer the kernel, other processes, or what is mounted; no browser needs them. `mount` is not
/// here: Chrome's PID namespace gets a `/proc`.
const ADMINISTRATIVE: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_migrate_pages,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// The kinds of sockets that a browser may have: pairs, the internet, and the list of its interfaces. Others reach parts of
/// the kernel that are rarely used.
const SOCKET_KINDS: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Limits on the resources of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Bytes of address space beyond those that it has when it is confined.
    pub memory: u64,
    /// Processor time.
    pub cpu: Duration,
    /// Bytes up to which it may write to a file.
    pub file_bytes: u64,
}

/// Limits the resources of this process, and takes all system calls from it that parsing and decoding do not need: it
/// opens no files, has no sockets but its own, starts neither threads nor programs, signals none but itself, and makes
/// no memory executable. A call that is not allowed fails.
///
/// # Errors
/// The system refuses a limit or the filter. The process must not go on then.
pub fn confine(limits: &ProcessLimits) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", FIRST_TO_END)?;
    let memory = address_space()?.saturating_add(limits.memory);
    let cpu = limits.cpu.as_secs();
    for (resource, soft, hard) in [
        (Resource::RLIMIT_AS, memory, memory),
        (Resource::RLIMIT_CPU, cpu, cpu.saturating_add(CPU_GRACE)),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
    ] {
        setrlimit(resource, soft, hard)?;
    }
    prctl::set_no_new_privs()?;
    let program = filter().map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// Takes the system calls from this thread, and from the programs that it starts from now on, that administer the kernel,
/// other processes, or what is mounted, and all sockets of rare kinds. A call that is not allowed fails. None of these
/// programs can gain privileges.
///
/// # Errors
/// The system refuses the filter.
pub fn refuse_administration() -> io::Result<()> {
    let program = administration_filter().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn administration_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ADMINISTRATIVE.iter().map(|call| (*call, Vec::new())).collect();
    let is_other = |kind| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, kind as u64);
    let others = SOCKET_KINDS.into_iter().map(is_other).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(others)?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_poll, Vec::new());
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let protection = 2;
        let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        let condition = SeccompCondition::new(protection, SeccompCmpArgLen::Dword, executable, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
    }
    // `abort` sends the signal to this process itself.
    let own = u64::from(std::process::id());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Bytes of address space that this process has now, its program and libraries included.
fn address_space() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    let size = size.and_then(|size| u64::try_from(size).ok());
    pages.zip(size).map(|(pages, size)| pages * size).ok_or_else(|| io::Error::other("the address space is unknown"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::TcpStream;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use nix::errno::Errno;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;

    use super::*;

    /// Tries what a source that has taken its process over would, in a process of this test alone.
    #[test]
    #[ignore = "confines its process; `a_confined_process_reaches_nothing` runs it in one of its own"]
    fn everything_is_refused() {
        let (own, _other) = UnixDatagram::pair().unwrap();
        confine(&ProcessLimits { memory: 2 << 30, cpu: Duration::from_secs(60), file_bytes: 1 << 20 }).unwrap();
        let refused = |what: &str, error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}");
        refused("a file", File::open("/etc/hostname").unwrap_err());
        refused("a new file", File::create("/tmp/decoded").unwrap_err());
        refused("the facts of a file", std::fs::metadata("/etc/hostname").unwrap_err());
        refused("a folder", std::fs::read_dir("/").unwrap_err());
        refused("the network", TcpStream::connect("127.0.0.1:9").unwrap_err());
        refused("a program", Command::new("/bin/true").spawn().unwrap_err());
        refused("a thread", std::thread::Builder::new().spawn(|| {}).unwrap_err());
        refused("another descriptor", own.try_clone().unwrap_err());
        assert_eq!(kill(Pid::from_raw(1), None), Err(Errno::EPERM));
        assert_eq!(kill(nix::unistd::getpid(), None), Err(Errno::EPERM), "only abort's call is allowed");
        assert!(Vec::<u8>::new().try_reserve_exact(3 << 30).is_err(), "more memory than the limit");
    }

    #[test]
    fn programs_of_a_thread_administer_nothing_and_those_of_others_go_on() {
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let status = move || run("grep", &["-E", "^(Seccomp|NoNewPrivs):", "/proc/self/status"]);
        let before = status();
        // Without this right it would be refused for want of a privilege, with the same words.
        let enter = move || run("nsenter", &["--user=/proc/self/ns/user", "true"]);
        std::thread::spawn(move || {
            refuse_administration().unwrap();
            assert_eq!(status(), "NoNewPrivs:\t1\nSeccomp:\t2\n");
            assert!(enter().contains("Operation not permitted"), "{}", enter());
            assert_eq!(run("echo", &["goes on"]), "goes on\n");
        })
        .join()
        .unwrap();
        assert_eq!(status(), before);
        assert!(!enter().contains("Operation not permitted"), "{}", enter());
    }

    #[test]
    fn a_confined_process_reaches_nothing() {
        let name = "confinement::tests::everything_is_refused";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
