"""The default filter: which system calls a sandbox may make, in the manner of the OCI default profiles. Data, and its choice.

A call in no list, and one that this libseccomp has no name for, is answered ENOSYS: programs then fall back as on an
older kernel. Sources: syscalls(2), and the lists that containers-common and Docker ship.
"""

from __future__ import annotations

from errno import ENOSYS, EPERM

from lxsandbox.security.capabilities import NUMBERS
from lxsandbox.security.seccomp_plan import ALLOW, Check, Condition, Plan, Rule, errno_action

__all__ = ["default_plan"]

_ALLOWED: str = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64
    fdatasync file_getattr flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
    getdents getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat
    name_to_handle_at newfstatat open openat openat2 pipe pipe2 readahead readdir readlink readlinkat rename renameat
    renameat2 rmdir stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2
    arm_sync_file_range syncfs truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr
    lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

    pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv sendfile sendfile64 splice tee vmsplice write writev
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch fanotify_mark poll ppoll ppoll_time64 pselect6 pselect6_time64 select
    _newselect signalfd signalfd4 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit

    brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise
    process_mrelease remap_file_pages

    capget capset clone execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid
    getpgrp getsid setpgid setsid getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
    getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
    setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
    getpriority setpriority nice ioprio_get ioprio_set getrlimit ugetrlimit setrlimit prlimit64 getrusage times
    arch_prctl prctl personality pidfd_getfd pidfd_open pidfd_send_signal process_vm_readv process_vm_writev ptrace
    landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp get_robust_list set_robust_list
    get_thread_area set_thread_area set_tid_address set_tls modify_ldt rseq uretprobe cacheflush breakpoint
    riscv_flush_icache riscv_hwprobe

    futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake kill pause restart_syscall rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sigaction sigaltstack signal sigpending sigprocmask sigreturn sigsuspend tgkill tkill
    getcpu sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield

    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socket socketpair
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget

    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64
    getrandom listmount statmount sysinfo uname
"""

# Allowed where the capability is in the sandbox's set, else EPERM.
_BY_CAPABILITY = {
    "BPF": "bpf",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "PERFMON": "perf_event_open",
    "SYS_ADMIN": "fanotify_init lookup_dcookie quotactl quotactl_fd",
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages",
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp",
    "SYS_RAWIO": "ioperm iopl",
    "SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "SYS_TTY_CONFIG": "vhangup",
    "SYSLOG": "syslog",
}

# Allowed with nesting, or where SYS_ADMIN was added by name. Else EPERM: a nested user namespace opens the whole of mount
# and network configuration to any process (CVE-2022-0185, CVE-2023-0386).
_NAMESPACES: str = """
    fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root setdomainname
    sethostname setns umount umount2 unshare
"""

# Allowed to nobody: they reach past every namespace, or have a record of holes and no use in a test.
_DENIED: str = """
    bdflush io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load nfsservctl swapoff swapon sysfs
    _sysctl uselib userfaultfd ustat vm86 vm86old
"""
_KEYRING: str = "add_key keyctl request_key"

_CLONE_NEW = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; the eighth, NEWTIME, clone(2) takes for a signal
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: type into the terminal that a shell outside reads
# UNSPEC, UNIX, INET, INET6, NETLINK, PACKET (the kernel asks for NET_RAW). VSOCK (40) knows no namespace and reaches the
# hypervisor; ALG (38) and the rare protocols are code that the host would load on demand.
_FAMILIES = (0, 1, 2, 10, 16, 17)
# Linux, Linux with ADDR_NO_RANDOMIZE (debuggers and sanitizers), 32-bit, UNAME26, both, and the question for the current one.
_PERSONALITIES = (0x0, 0x40000, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

_CHECKS = (
    Check(call="ioctl", argument=1, condition=Condition.NOT_IN, values=_TERMINAL_INPUT, errno=EPERM),
    Check(call="personality", argument=0, condition=Condition.IN, values=_PERSONALITIES, errno=EPERM),
    Check(call="socket", argument=0, condition=Condition.IN, values=_FAMILIES, errno=EPERM),
    Check(call="socketpair", argument=0, condition=Condition.IN, values=_FAMILIES, errno=EPERM),
    # i386's multiplexer takes the family from memory, where no filter can look; the direct calls are there since Linux 4.3.
    Check(call="socketcall", argument=0, condition=Condition.NEVER, values=(), errno=ENOSYS),
)
_CLONE_CHECK = Check(call="clone", argument=0, condition=Condition.NO_BIT_OF, values=(_CLONE_NEW,), errno=EPERM)


def default_plan(*, nesting: bool, capabilities: frozenset[int], architectures: tuple[int, ...]) -> Plan:
    """The default filter for a sandbox with these capabilities; `nesting` opens namespaces and mounts."""
    namespaces = nesting or NUMBERS["SYS_ADMIN"] in capabilities
    allowed, denied = _ALLOWED.split(), _DENIED.split()
    for capability, calls in _BY_CAPABILITY.items():
        (allowed if NUMBERS[capability] in capabilities else denied).extend(calls.split())
    (allowed if namespaces else denied).extend(_NAMESPACES.split())
    if namespaces:
        # Container runtimes go on without a keyring where keyctl is ENOSYS, and give up at EPERM; so the keyring is left out.
        allowed.append("clone3")
    else:
        # Its flags are in memory, where no filter can look. ENOSYS, from the default, makes the C library use clone.
        denied.extend(_KEYRING.split())
    return Plan(
        default=errno_action(ENOSYS),
        rules=tuple(
            [Rule(call=call, action=ALLOW) for call in allowed] + [Rule(call=call, action=errno_action(EPERM)) for call in denied]
        ),
        checks=_CHECKS if namespaces else (*_CHECKS, _CLONE_CHECK),
        architectures=architectures,
        by_number=True,  # `socketcall` is refused and `ipc` allowed, each as a whole
    )
