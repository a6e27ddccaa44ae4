"""Takes one guard away at a time, builds, and expects the test that is named for it to fail.

A file beside this one is one mutant: what it does, the file that it changes, how its test is built and called, and the
text before and after. The tree is left as it was found. `scripts/mutants.sh` runs all, or those that it is given.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FORMAT = re.compile(r"(?P<what>.*)\nfile: (?P<file>.*)\nrun: (?P<run>.*)\ntest: (?P<test>.*)\n<<<<\n(?P<old>.*?)\n====\n(?P<new>.*?)\n?>>>>\n", re.S)  # fmt: skip


@dataclass
class Mutant:
    name: str
    what: str
    file: Path
    run: list[str]
    test: str
    old: str
    new: str

    @classmethod
    def read(cls, path: Path) -> "Mutant":
        found = FORMAT.fullmatch(path.read_text())
        assert found, f"{path}: not of the form of a mutant"
        parts = found.groupdict()
        return cls(path.stem, parts["what"], ROOT / parts["file"], parts["run"].split(), parts["test"], parts["old"], parts["new"])

    def changed(self) -> str:
        """The file's text with the guard gone."""
        text = self.file.read_text()
        assert text.count(self.old) == 1, f"{self.name}: what it replaces is {text.count(self.old)} times in {self.file.relative_to(ROOT)}"
        return text.replace(self.old, self.new)

    def is_caught(self) -> tuple[bool, str]:
        """Whether the test fails, having been built; what was written to the terminal."""
        original, changed = self.file.read_text(), self.changed()
        options = [*os.environ.get("INSULA_CARGO_CONFIG", "").split(), "--release", "--workspace"]
        command = ["cargo", "test", *options, *[option for option in self.run if option != "--bins"]]
        builds = [[*command, "--no-run"]]
        if "--bins" in self.run:
            # The program that the test starts; `cargo test` alone would leave the one from before.
            builds.append(["cargo", "build", *options, "--bins"])
        self.file.write_text(changed)
        try:
            for build in builds:
                built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
                if built.returncode:
                    raise SystemExit(f"{self.name}: does not build\n{built.stderr}")
            done = subprocess.run([*command, "--", self.test], cwd=ROOT, capture_output=True, text=True)
        finally:
            self.file.write_text(original)
        return f"test {self.test} ... FAILED" in done.stdout or f"::{self.test} ... FAILED" in done.stdout, done.stdout + done.stderr


def mutants() -> list[Mutant]:
    return [Mutant.read(path) for path in sorted(HERE.glob("*.mutant"))]


def main(names: list[str]) -> int:
    chosen = [mutant for mutant in mutants() if not names or mutant.name in names]
    survivors = []
    for mutant in chosen:
        caught, output = mutant.is_caught()
        print(f"{'caught' if caught else 'NOT CAUGHT':10} {mutant.name:28} by {mutant.test}", flush=True)
        if not caught:
            survivors.append(mutant.name)
            print(output[-4000:], file=sys.stderr)
    print(f"{len(chosen)} mutants, {len(survivors)} survived")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
