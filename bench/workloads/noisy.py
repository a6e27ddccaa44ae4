"""A noisy neighbour: one user runs the heaviest join on sixteen connections while sixteen others read their rows."""

import itertools
import threading
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from bench.crowd import Crowd
from bench.data import flights
from bench.engines.insula import Flight, Insula
from bench.result import Result
from bench.rounds import Figures, interleaved, number, spread
from bench.run import Run
from bench.workloads.point import Reader

TITLE = "A noisy neighbour"
READERS = CONNECTIONS = 16
LIMIT = 1024
# What a process holds beside what it accounts for: code, stacks, the allocator's slack.
SLACK = 1.25
FRESH, SETTLED = flights.table("fresh"), flights.table("settled")
# Every flight beside all others of its aircraft, and all of them sorted: a large hash table, many rows, and a spill.
JOIN = (
    "SELECT count(*), sum(d) FROM (SELECT CAST(a.distance AS BIGINT) * b.distance AS d FROM settled a JOIN settled b "
    "ON a.tailnum = b.tailnum ORDER BY d, a.id, b.id LIMIT 1000000)"
)


@dataclass
class Noise:
    """Runs the join over and over. That it is refused when the server has enough of it is what limits are for."""

    client: Flight
    user: str

    def open(self) -> None:
        self.client.open()

    def step(self) -> None:
        try:
            self.client.ask(JOIN, self.user)
        except pa.ArrowException as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise

    def close(self) -> None:
        self.client.close()


def run(run: Run) -> Result:
    result, rows, heavy = Result(TITLE), run.pick(1_000, 5_000, 20_000), run.pick(5_000, 20_000, 100_000)
    seconds = run.pick(1.0, 3.0, 10.0)
    with run.directory("noisy") as home, Insula(home, "--memory-limit", f"{LIMIT}MB") as insula, ExitStack() as stack:
        insula.create(FRESH, "WITH (flush_rows = 1000000000, flush_bytes = '100GB', flush_interval = '10 days')")
        insula.create(SETTLED)
        for user in range(READERS):
            insula.load(flights.source(rows, home, user * rows, FRESH.name), f"reader{user}")
            insula.load(flights.source(rows, home, user * rows, SETTLED.name), f"reader{user}")
        insula.load(flights.source(heavy, home, 0, SETTLED.name), "noisy")
        insula.flush(SETTLED)
        memory = insula.memory()
        once = insula.query(JOIN, "noisy")
        run.say(f"{READERS} readers with {rows:,} rows each; the join of {heavy:,} flights gives {once[0][0]:,} rows")
        crowds = {}
        for name, table in (("fresh", FRESH), ("flushed", SETTLED)):
            for door, client in (("prepared", insula.raw_client), ("ADBC", insula.client)):
                readers = [Reader(client(f"reader{n}"), table.name, n * rows, rows) for n in range(READERS)]
                crowds[f"{name}, {door}"] = stack.enter_context(Crowd(readers))
        noise = stack.enter_context(Crowd([Noise(insula.raw_client("noisy"), "noisy") for _ in range(CONNECTIONS)]))
        memory.reset()
        variants = {}
        for name, crowd in crowds.items():
            variants[f"{name}, quiet"] = lambda crowd=crowd: crowd.run(seconds)
            variants[f"{name}, noisy"] = lambda crowd=crowd: beside(noise, crowd, seconds)
        measured = interleaved(variants, run.count(), run.pick(30, 120, 400), run.say)
        _, highest = memory.megabytes()
    result.raw["rounds"] = measured.raw()
    lines = []
    for name in crowds:
        ratios = measured.ratios(f"{name}, noisy", f"{name}, quiet", "p99")
        for kind in ("quiet", "noisy"):
            figures = [spread(measured.values(f"{name}, {kind}", figure)) for figure in ("p50", "p99", "per second")]
            lines.append([f"{name}, {kind}", *figures, spread(ratios) if kind == "noisy" else "–"])
        result.bar(f"{name}: p99 of {READERS} users' point reads beside the noise, over quiet", ratios, 2.0, "×")
    result.bar(f"VmHWM under `--memory-limit {LIMIT}MB` beside the noise", highest, LIMIT * SLACK, "MiB")
    joins = list(itertools.chain(*(measured.values(f"{name}, noisy", "joins") for name in crowds)))
    columns = ["", "p50, ms", "p99, ms", "per second", "× quiet p99"]
    result.table(f"{READERS} users, a client each, beside one user on {CONNECTIONS} connections", columns, lines)
    result.note(f"The noise: `{JOIN}` over {heavy:,} flights, ended {number(sum(joins), 0)} times in all noisy rounds.")
    result.note("Clients and server share the processors, so the quiet figures are those of a machine that is full, too.")
    return result


def beside(noise: Crowd, crowd: Crowd, seconds: float) -> Figures:
    """The crowd's figures while the noise goes on, from before its first step until after its last."""
    made: dict[str, Figures] = {}
    thread = threading.Thread(target=lambda: made.update(noise=noise.run(seconds + 1.0)))
    thread.start()
    # Nothing is measured here: the joins have to be under way.
    threading.Event().wait(0.5)
    figures = crowd.run(seconds)
    thread.join()
    return figures | {"joins": made["noise"]["steps"] if made else 0}
