"""The runner: `make bench`, or `python -m benchmarks` with options."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import __doc__ as about
from . import environments, machine, report
from .measuring import Failed, Spread, Took
from .parts import BIN, PARTS, PROJECT, Say, Wanted, measure

BUSY = 75  # EX_TEMPFAIL: try again later
MACHINE_BUSY = "measure when it is quiet, or with --busy; what is written then shows this load"


def data(here: machine.Machine, versions: Mapping[str, str], found: Mapping[str, Sequence[Took]]) -> dict[str, object]:
    """What docs/measured.json keeps."""
    figures = ("wall", "cpu", "peak")
    return {
        "machine": here.data(),
        "versions": dict(sorted(versions.items())),
        "found": {
            key: {name: vars(Spread.of([round(getattr(one, name), 3) for one in turns])) for name in figures}
            for key, turns in found.items()
        },
    }


def write(measured: Mapping[str, object], say: Say) -> None:
    """docs/measured.json, the plot, and the pages that show them."""
    report.FILE.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw = Path(__file__).resolve().parent / "plot/draw.py"
    python = environments.programs("plot", say) / "python"
    subprocess.run([python, draw, report.FILE, report.FILE.with_suffix(".svg")], check=True)
    subprocess.run([sys.executable, "-m", "tools.docs"], cwd=PROJECT, check=True)


def main() -> int:
    """0; 1 if something did not do what is measured; 75 if the machine is busy."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=PARTS, help="; ".join(f"{name}: {text}" for name, text in PARTS.items())
    )
    parser.add_argument(
        "--quick", action="store_true", help="one turn of each, fewer simulated nodes; writes nothing to docs/"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of what takes seconds (default 5)")
    parser.add_argument("--bare", type=int, default=2, help="turns from bare nodes (default 2)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=12,
        help="time for all: a further turn from bare nodes is left out if it would not fit (default 12)",
    )
    parser.add_argument("--busy", action="store_true", help="also on a busy machine")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    chosen = parser.parse_args()
    began = time.monotonic()
    here = machine.here()
    if why := machine.busy(here):
        print(f"{why}\n  → {MACHINE_BUSY}", file=sys.stderr)
        if not chosen.busy:
            return BUSY

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    wanted = Wanted(
        1 if chosen.quick else chosen.rounds, 1 if chosen.quick else chosen.bare, say, until=began + 60 * chosen.minutes
    )
    wanted.versions["Python"] = f"Python {sys.version.split()[0]}"
    wanted.versions["kubefab"] = f"kubefab {machine.version([BIN / 'inv', 'cluster.version'])}"
    try:
        found = measure(wanted, set(chosen.only or PARTS), quick=chosen.quick)
    except Failed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    measured = data(here, wanted.versions, found)
    print(json.dumps(measured, indent=1) if chosen.json else report.page(measured))
    if chosen.only or chosen.quick:
        say("docs/ is as it was: it gets whole runs only")
    else:
        write(measured, say)
        say("written: docs/measured.json, docs/measured.svg, and the pages that show them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
