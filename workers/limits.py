"""What a process that may die may take: for the forks that read files from outside."""

import contextlib
import resource
from pathlib import Path


def limit_memory(more_bytes: int) -> None:
    """Let this process grow by `more_bytes` of address space and no further, where the system can say so."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        with contextlib.suppress(ValueError, OSError):  # a lower hard limit is in force already
            resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, used + more_bytes))


def limit_time(more_s: int) -> None:
    """Let this process use `more_s` seconds of a CPU and no more: it is killed then, whatever library it is in."""
    of_us = resource.getrusage(resource.RUSAGE_SELF)
    until = int(of_us.ru_utime + of_us.ru_stime) + 1 + more_s
    with contextlib.suppress(ValueError, OSError):  # a lower hard limit is in force already
        resource.setrlimit(resource.RLIMIT_CPU, (until, until))
