"""docs/benchmarks.md, made from the recorded results."""

from pathlib import Path

from bench.rounds import number
from bench.workloads import ALL

INTRODUCTION = Path(__file__).parent / "introduction.md"


def write(path: Path, scale: str, records: dict[str, dict]) -> None:
    known = {name: records[name] for name in ALL if name in records}
    parts = [INTRODUCTION.read_text().strip(), programs(known), summary(known), *contests(known)]
    parts += [section(record) for record in known.values()]
    path.write_text("\n\n".join(part for part in parts if part) + "\n")


def programs(records: dict[str, dict]) -> str:
    """Versions and settings as of the last run."""
    if not records:
        return ""
    last = max(records.values(), key=lambda record: record["date"])
    return table(["program", "version", "settings"], [[name, *about] for name, about in last["programs"].items()])


def summary(records: dict[str, dict]) -> str:
    bars = [bar for record in records.values() for bar in record["bars"]]
    rows = [[bar["what"], bar["got"], bar["limit"], "kept" if bar["kept"] else "**missed**"] for bar in bars]
    checks = sum(record["checks"] for record in records.values())
    wrong = [f"- {text}" for record in records.values() for text in record["wrong"]]
    text = f"{checks} answers were checked before their times counted, {len(wrong)} of them were wrong."
    lines = ["## What was promised", "", table(["", "measured", "bar", ""], rows), "", text] if rows else [text]
    return "\n".join([*lines, *(["", *wrong] if wrong else [])])


def contests(records: dict[str, dict]) -> list[str]:
    """What is lost comes first, the worst on top; a twentieth is no difference."""
    found = [one for record in records.values() for one in record["comparisons"]]
    lost = sorted((one for one in found if one["ratio"] > 1.05), key=lambda one: -one["ratio"])
    won = sorted((one for one in found if one["ratio"] < 1 / 1.05), key=lambda one: one["ratio"])
    headers = ["", "against", "Insula's time over theirs"]
    parts = []
    for title, some in (("## What it loses at", lost), ("## What it wins at", won)):
        rows = [[one["what"], one["other"], f"{number(one['ratio'])} ×"] for one in some]
        parts += [title + "\n\n" + table(headers, rows)] if rows else []
    return parts


def section(record: dict) -> str:
    lines = [f"## {record['title']}", "", origin(record)]
    if record.get("failed"):
        lines += ["", f"This workload broke off: {record['failed']}"]
    for one in record["tables"]:
        lines += ["", f"**{one['caption']}**", "", table(one["columns"], one["rows"])]
    if record["notes"]:
        lines += ["", *(f"- {note}" for note in record["notes"])]
    return "\n".join(lines)


def origin(record: dict) -> str:
    where = record["machine"]
    return (
        f"*{record['date']}, commit {record['commit']}, scale {record['scale']}, {record['seconds']:.0f} s; "
        f"{', '.join(where.values())}; {record['busy']:.0%} of the processors were busy before it began.*"
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
