"""What one workload found: tables to print, bars it was held to, answers it checked, and every single measurement."""

import statistics
from dataclasses import asdict, dataclass, field

from demo.report import same, shorten


@dataclass
class Result:
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[dict] = field(default_factory=list)
    bars: list[dict] = field(default_factory=list)
    comparisons: list[dict] = field(default_factory=list)
    checks: int = 0
    wrong: list[str] = field(default_factory=list)
    raw: dict = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def table(self, caption: str, columns: list[str], rows: list[list[str]]) -> None:
        self.tables.append({"caption": caption, "columns": columns, "rows": rows})

    def check(self, what: str, got, want) -> None:
        """An answer that must be right before its time counts."""
        self.checks += 1
        if not same(got, want):
            self.wrong.append(f"{what}: {shorten(got)} instead of {shorten(want)}")

    def bar(self, what: str, values: list[float] | float, limit: float, unit: str, at_least: bool = False) -> None:
        """The median is held against the limit."""
        got = statistics.median(values) if isinstance(values, list) else values
        kept = got >= limit if at_least else got <= limit
        word = "at least" if at_least else "at most"
        self.bars.append({"what": what, "got": f"{got:,.2f} {unit}", "limit": f"{word} {limit:g} {unit}", "kept": kept})

    def unmeasured(self, what: str, reason: str) -> None:
        """A bar that could not be tried is not kept."""
        self.bars.append({"what": what, "got": f"not measured: {reason}", "limit": "–", "kept": False})

    def compare(self, what: str, other: str, ratios: list[float]) -> None:
        """Insula's time over the other's, from rounds of one run; the page lists what is lost and what is won."""
        if ratios:
            self.comparisons.append({"what": what, "other": other, "ratio": statistics.median(ratios)})

    def record(self) -> dict:
        """Where an answer was wrong no bar is kept and nothing is compared: a refusal is quick and takes no memory."""
        record = asdict(self)
        if self.wrong:
            record["bars"] = [bar | {"got": f"{bar['got']}, answers wrong", "kept": False} for bar in self.bars]
            record["comparisons"] = []
        return record
