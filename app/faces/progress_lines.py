"""Progress as tqdm prints it, which clients of other APIs read out of logs."""

WIDTH = 10  # characters of the bar


def progress_line(step: int, steps: int) -> str:
    """The line of a step: ` 35%|###       | 7/20`; empty before the first."""
    if step <= 0:
        return ""
    share = min(step / max(steps, 1), 1.0)
    return f"{int(share * 100):3d}%|{'#' * int(share * WIDTH):<{WIDTH}}| {min(step, steps)}/{steps}\n"
