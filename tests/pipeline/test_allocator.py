"""The allocator is told to keep memory flat: threads share its arenas, and large blocks have none."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from pipeline.allocator import ARENAS

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose allocator this is about")

# Sixteen threads that allocate at the same time, then how many arenas malloc_info tells of.
COUNT = """
import ctypes, sys, threading
from pipeline.allocator import keep_memory_flat
if sys.argv[1] == "flat":
    keep_memory_flat()
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


# A block of 16 MB is given back, then how many of one MB have pages of their own.
LARGE = """
import ctypes, sys
from pipeline.allocator import keep_memory_flat
if sys.argv[1] == "flat":
    keep_memory_flat()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(2**24))))
before = libc.mallinfo2().hblks
kept = [libc.malloc(ctypes.c_size_t(2**20)) for _ in range(8)]
print(libc.mallinfo2().hblks - before)
"""
VARIABLES = {"MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_"}


def said(program: str, how: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", program, how], env=kept | environment, capture_output=True, text=True,
                          check=True)
    return done.stdout


def arenas(how: str, **environment: str) -> int:
    return said(COUNT, how, **environment).count("<heap nr=")


def on_their_own(how: str, **environment: str) -> int:
    return int(said(LARGE, how, **environment))


@needs_glibc
def test_threads_share_two_arenas_unless_the_environment_says_otherwise() -> None:
    assert arenas("as it is") > ARENAS
    assert arenas("flat") == ARENAS
    assert arenas("flat", MALLOC_ARENA_MAX="4") == 4


@needs_glibc
def test_large_blocks_have_pages_of_their_own_whatever_was_given_back_before() -> None:
    assert on_their_own("as it is") == 0
    assert on_their_own("flat") == 8
    assert on_their_own("flat", MALLOC_MMAP_THRESHOLD_=str(2**22)) == 0
