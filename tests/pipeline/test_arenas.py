"""Threads share the allocator's arenas, so that memory does not grow with every thread there ever was."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from pipeline.arenas import ARENAS

# Sixteen threads that allocate at the same time, then how many arenas malloc_info tells of.
COUNT = """
import ctypes, sys, threading
from pipeline.arenas import share_arenas
if sys.argv[1] == "shared":
    share_arenas()
all_here = threading.Barrier(16)
def work():
    all_here.wait()
    kept = [bytes(5000) for _ in range(100)]
    all_here.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fflush(ctypes.c_void_p(file))
"""


def arenas(how: str, **environment: str) -> int:
    kept = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run([sys.executable, "-c", COUNT, how], env=kept | environment, capture_output=True, text=True,
                          check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator this is about")
def test_threads_share_two_arenas_unless_the_environment_says_otherwise() -> None:
    assert arenas("as it is") > ARENAS
    assert arenas("shared") == ARENAS
    assert arenas("shared", MALLOC_ARENA_MAX="4") == 4
