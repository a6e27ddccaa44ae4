"""Rounds: all that is compared runs in turn, A B C A B C …, so that a slow minute of the machine hits everyone."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Figures = dict[str, float]
Round = dict[str, Figures]


@dataclass
class Rounds:
    """What was measured: round → what ran → figure → value."""

    kept: list[Round] = field(default_factory=list)
    # The rounds that other load of the machine spoilt, and why.
    discarded: list[Round] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def values(self, name: str, figure: str) -> list[float]:
        return [done[name][figure] for done in self.kept if figure in done.get(name, {})]

    def median(self, name: str, figure: str) -> float | None:
        values = self.values(name, figure)
        return statistics.median(values) if values else None

    def ratios(self, name: str, other: str, figure: str) -> list[float]:
        """`name` over `other`, each from one and the same round."""
        both = [done for done in self.kept if figure in done.get(name, {}) and done.get(other, {}).get(figure)]
        return [done[name][figure] / done[other][figure] for done in both]

    def raw(self) -> dict:
        return {"rounds": self.kept, "discarded": self.discarded, "reasons": self.reasons}

    def all_values(self, name: str, figure: str) -> list[float]:
        """Of the discarded rounds too."""
        return [done[name][figure] for done in self.kept + self.discarded if figure in done.get(name, {})]


def interleaved(
    variants: dict[str, Callable[[], Figures]],
    rounds: int,
    budget: float,
    say: Callable[[str], None],
    disturbed: Callable[[Round], str | None] = lambda _: None,
    only_first: tuple[str, ...] = (),
) -> Rounds:
    """Until there are `rounds` good ones or `budget` seconds are over, one at least. `only_first` are measured once."""
    measured, started = Rounds(), time.monotonic()
    while len(measured.kept) < rounds:
        done: Round = {}
        for name, run in variants.items():
            if name in only_first and measured.kept:
                continue
            done[name] = run()
        reason = disturbed(done)
        if reason is None:
            measured.kept.append(done)
        else:
            measured.discarded.append(done)
            measured.reasons.append(reason)
            say(f"this round is discarded: {reason}")
        spent = time.monotonic() - started
        if spent > budget or len(measured.discarded) > rounds:
            if len(measured.kept) < rounds:
                say(f"{len(measured.kept)} of {rounds} rounds in {spent:.0f} s; no time for more")
            break
    return measured


def spread(values: list[float], digits: int | None = None) -> str:
    """`median (lowest – highest)`."""
    if not values:
        return "–"
    middle = number(statistics.median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values), digits)}–{number(max(values), digits)})"


def number(value: float | None, digits: int | None = None) -> str:
    """Three significant digits, or `digits` behind the point."""
    if value is None:
        return "–"
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def percentile(values: list[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
