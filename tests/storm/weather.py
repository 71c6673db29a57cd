"""What happens in a storm: in each lane one thing after the other, at random from the seed, until it is over."""

import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.exceptions import RedisError

from tests.storm.proxy import Mode
from tests.storm.scene import Scene

DURATIONS_S = (0.2, 1.0, 3.0, 8.0)
GAPS_S = (0.5, 2.0, 5.0)
LONG_GAPS_S = (*GAPS_S, 20.0, 40.0)  # long enough for an engine to load, and for much to be accepted
STEPS_S = (-240, -60, -5, 5, 60, 240)  # S3 refuses whoever's clock is a quarter of an hour wrong

Deed = Callable[[Scene, random.Random], None]


@dataclass(frozen=True)
class Trouble:
    """Something that begins, and ends a while later."""

    name: str
    begin: Deed
    end: Deed = lambda *_: None


def _storage(mode: Mode) -> Trouble:
    return Trouble(
        f"storage {mode}",
        lambda scene, _: scene.storage_proxy.to(mode),
        lambda scene, _: scene.storage_proxy.to("open"),
    )


def _redis(mode: Mode) -> Trouble:
    return Trouble(
        f"redis {mode}", lambda scene, _: scene.redis_proxy.to(mode), lambda scene, _: scene.redis_proxy.to("open")
    )


def _flush(scene: Scene, _: random.Random) -> None:
    with suppress(RedisError), scene.valkey.client() as client:
        client.flushall()


def _signal(number: signal.Signals) -> Deed:
    return lambda scene, _: scene.valkey.signal(number)


def _kill(word: str) -> Trouble:
    def deed(scene: Scene, _: random.Random) -> None:
        if not scene.supervisor.is_ready():
            return  # what dies before it was ready ends the start, and nothing would ever be ready here
        for one in scene.supervisor.processes(word):
            with suppress(psutil.NoSuchProcess):
                one.kill()

    return Trouble(f"{word} killed", deed)


def _kill_all(scene: Scene, _: random.Random) -> None:
    scene.supervisor.kill()


def _step(scene: Scene, chance: random.Random) -> None:
    scene.clock.write_text(str(chance.choice(STEPS_S)))


LANES: dict[str, tuple[Trouble, ...]] = {
    "storage": tuple(_storage(mode) for mode in ("cut", "silent", "busy")),
    "redis": (
        *(_redis(mode) for mode in ("cut", "silent")),
        Trouble("redis flushed", _flush),
        Trouble("redis paused", _signal(signal.SIGSTOP), _signal(signal.SIGCONT)),
        Trouble("redis killed", _signal(signal.SIGKILL), lambda scene, _: scene.valkey.start()),
    ),
    "processes": (*(_kill(word) for word in ("api", "generate", "engine", "engine", "intake")),),
}
# What takes half a minute to recover from, or needs a compiler: only where there is time for it
RARE_LANES: dict[str, tuple[Trouble, ...]] = {
    "supervisor": (Trouble("supervisor killed", _kill_all),),
    "clock": (Trouble("clock stepped", _step),),
}
RARE_S = (60.0, 180.0)
KEEP_S = 1.0


class Storm:
    """Rages over a scene in threads of its own; `happened` tells what did, and when."""

    def __init__(self, scene: Scene, seed: int, long: bool) -> None:
        self._scene = scene
        self._over = threading.Event()
        self._began = time.monotonic()
        self.happened: list[str] = []
        self.failures: list[str] = []
        usual_s = LONG_GAPS_S if long else GAPS_S
        lanes = [(name, troubles, usual_s) for name, troubles in LANES.items()]
        lanes += [(name, troubles, RARE_S) for name, troubles in RARE_LANES.items() if long]
        self._threads = [
            threading.Thread(target=self._rage, args=(troubles, gaps_s, random.Random(f"{seed} {name}")), daemon=True)
            for name, troubles, gaps_s in lanes
        ]
        self._threads.append(threading.Thread(target=self._keep, daemon=True))

    def rage(self, seconds: float) -> None:
        """Rage for so long; whatever began has ended when this returns."""
        for thread in self._threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _keep(self) -> None:
        """Start the supervisor again when it has ended, as the system's own does; only a killed one may have."""
        while not self._over.wait(KEEP_S):
            if not self._scene.supervisor.running():
                if self._scene.supervisor.gave_up():
                    self.failures.append("the supervisor ended by itself after it was ready")
                self._scene.supervisor.start()

    def _rage(self, troubles: tuple[Trouble, ...], gaps_s: tuple[float, ...], chance: random.Random) -> None:
        while not self._over.wait(chance.choice(gaps_s)):
            trouble = chance.choice(troubles)
            for_s = chance.choice(DURATIONS_S)
            self.happened.append(f"{time.monotonic() - self._began:6.1f} s  {trouble.name} for {for_s} s")
            try:
                trouble.begin(self._scene, chance)
                self._over.wait(for_s)
                trouble.end(self._scene, chance)
            except (AssertionError, OSError, TimeoutError, psutil.Error) as error:
                self.failures.append(f"{trouble.name}: {type(error).__name__}: {error}")


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long wrong(void) {
    const char *path = getenv("STEP_FILE"); char text[32] = {0};
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) < 0) text[0] = 0;
    close(file);
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) at->tv_sec += wrong();
    return result;
}
int gettimeofday(struct timeval *at, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(at, zone);
    if (at) at->tv_sec += wrong();
    return result;
}
time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


def clock_shim(folder: Path) -> Path | None:
    """A library to preload, by which the clock of a process is as wrong as STEP_FILE says; None without a compiler."""
    if not (compiler := shutil.which("cc") or shutil.which("gcc")):
        return None
    source, library = folder / "step.c", folder / "step.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library
