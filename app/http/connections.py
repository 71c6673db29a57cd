"""How many connections the API may hold at once."""

import resource

MOST = 65_536


def allow_many_connections() -> None:
    """Raise the limit of open files as far as it may go: a listener to events is one, and many machines allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
