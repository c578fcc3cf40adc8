"""Changes the rules one spot at a time and runs their tests on each change: one that no test notices is a survivor.

Runs in a small virtual environment of its own (`make mutants`), on a copy in var/mutants: the modules of
broker_service/domain and their tests, but for those that draw at random. Survivors are listed, each with its reason,
in docs/mutants.md. Exits 1 if one is not, or if what is listed there does not survive.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "var" / "mutants"
RULES = Path("broker_service/domain")
TESTS = Path("tests/unit/broker_service/domain")
RANDOM_TESTS = ("test_properties.py",)
EXPLANATIONS = ROOT / "docs" / "mutants.md"
LOG = COPY / "mutmut.log"
MUTMUT = Path(sys.executable).with_name("mutmut")
CONFIGURATION = f"""\
[mutmut]
source_paths = broker_service
only_mutate = {RULES}/*.py
also_copy = broker_service
pytest_add_cli_args_test_selection = {TESTS}
pytest_add_cli_args =
  -p
  no:cacheprovider
  --hypothesis-seed=0
use_git_change_detection = false
track_dependencies = false
"""
# What the tool leaves alone because it is decorated: here it is only a function with something put around it.
DECORATORS = ("property", "computed_once")
STATES = ("killed", "timeout", "survived")


@dataclass(frozen=True)
class Change:
    """One spot of a rule, changed: the lines that differ, without their indentation."""

    module: str
    function: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Shows it as docs/mutants.md does."""
        return "\n".join((f"{self.module}: @@ {self.function}", *self.lines))


def main() -> int:
    """Makes all changes; returns the process's exit code."""
    prepare()
    if not run():
        return 2
    states = states_by_mutant()
    print_counts(states)
    explained = set(explanations(EXPLANATIONS.read_text()))
    survivors = {change_of(name) for name, state in states.items() if state == "survived"}
    late = {change_of(name) for name, state in states.items() if state == "timeout"}
    unexplained = survivors - explained
    outdated = explained - survivors - late  # One that ran too long may only have met a busy machine.
    print_changes("No test notices, and docs/mutants.md does not say why:", unexplained)
    print_changes("docs/mutants.md explains what does not survive:", outdated)
    return 1 if unexplained or outdated else 0


def prepare() -> None:
    """Copies the rules and their tests, and tells the tool about them."""
    shutil.rmtree(COPY, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", *RANDOM_TESTS)
    for directory in (RULES, TESTS):
        shutil.copytree(ROOT / directory, COPY / directory, ignore=unwanted)
    shutil.copy(ROOT / "broker_service" / "__init__.py", COPY / "broker_service")
    shutil.copy(ROOT / "pyproject.toml", COPY)
    (COPY / "setup.cfg").write_text(CONFIGURATION)
    for module in (COPY / RULES).glob("*.py"):
        module.write_text(undecorated(module.read_text()))


def undecorated(source: str) -> str:
    """Returns a module in which properties are decorated behind their functions: `name = property(name)`."""
    lines = source.splitlines(keepends=True)
    for owner in ast.walk(ast.parse(source)):
        for method in owner.body if isinstance(owner, ast.ClassDef) else ():
            if not isinstance(method, ast.FunctionDef) or method.end_lineno is None:
                continue
            match [ast.unparse(decorator) for decorator in method.decorator_list]:
                case [decorator] if decorator in DECORATORS:
                    lines[method.decorator_list[0].lineno - 1] = "\n"
                    lines[method.end_lineno - 1] += f"\n    {method.name} = {decorator}({method.name})\n"
    return "".join(lines)


def run() -> bool:
    """Runs the tool; tells whether it came to its end."""
    with LOG.open("w") as log:
        done = subprocess.run((MUTMUT, "run"), cwd=COPY, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        print(LOG.read_text()[-4_000:])
    return done.returncode == 0


def states_by_mutant() -> dict[str, str]:
    """Returns what became of each change, by the tool's name for it."""
    states = {}
    for line in asked("results", "--all", "true").splitlines():
        name, found, state = line.strip().partition(": ")
        if found:
            states[name] = state if state in STATES else "survived"
    return states


def change_of(name: str) -> Change:
    """Returns the change that the tool calls by this name, such as `….grants.x_spend__mutmut_1`."""
    path, _, mangled = name.rpartition(".")
    function = mangled.rpartition("__mutmut_")[0].removeprefix("x").replace("ǁ", ".").removeprefix(".")
    if "ǁ" not in mangled:
        function = function.removeprefix("_")
    return Change(path.rpartition(".")[2], function, changed_lines(asked("show", name).splitlines()))


def changed_lines(diff: Iterable[str]) -> tuple[str, ...]:
    """Returns the lines of a diff that differ, without their indentation."""
    return tuple(
        f"{line[0]} {line[1:].strip()}".strip()
        for line in diff
        if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
    )


def asked(*arguments: str) -> str:
    """Returns what the tool answers."""
    return subprocess.run((MUTMUT, *arguments), cwd=COPY, capture_output=True, text=True, check=True).stdout


def explanations(text: str) -> Iterator[Change]:
    """Yields the changes that a text explains.

    A heading (`## …`) names the module; in each block of a diff, `@@` and a function's name begin a change.
    """
    module = ""
    for heading, block in re.findall(r"^## (\S+)|^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        module = heading or module
        for part in block.split("@@ ")[1:]:
            function, *lines = part.splitlines()
            yield Change(module, function, changed_lines(lines))


def print_counts(states: dict[str, str]) -> None:
    """Prints how many changes of each module were noticed, how many ran too long, and how many survived."""
    counts = Counter((name.split(".")[-2], state) for name, state in states.items())
    print(f"{'module':<18}", *(f"{state:>9}" for state in STATES))
    for module in sorted({module for module, _ in counts}):
        print(f"{module:<18}", *(f"{counts[module, state]:>9}" for state in STATES))
    totals = Counter(states.values())
    print(f"{'all':<18}", *(f"{totals[state]:>9}" for state in STATES))


def print_changes(title: str, changes: Iterable[Change]) -> None:
    """Prints changes under a title; nothing if there are none."""
    shown = sorted(str(change) for change in changes)
    if shown:
        print(f"\n{title}", *shown, sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
