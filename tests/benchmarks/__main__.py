"""Every benchmark, or those that are named: one table each, in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def main() -> None:
    """Run them one after the other; the first that fails is the last."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}")
    wanted = parser.parse_args().names or NAMES
    if unknown := sorted({*wanted} - {*NAMES}):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    for name in wanted:
        subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
