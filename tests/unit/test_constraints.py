"""Constraints pin all that a tox environment installs; tests/audit.py says whether a pin has a known vulnerability."""

import os
import re
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

import audit
import pytest

PINNED_FOR = (3, 11)


def name_of(text: str) -> str:
    """A distribution's name at the beginning of a line, as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower()


def lines(variable: str) -> list[str]:
    file = os.environ.get(variable)
    found = Path(file).read_text(encoding="utf-8").splitlines() if file else []
    return [line for line in found if line and not line.startswith("#")]


def test_all_that_is_installed_is_pinned():
    if "TOX_ENV_NAME" not in os.environ or sys.version_info[:2] != PINNED_FOR or sys.platform != "linux":
        pytest.skip("constraints are of tox's environments on Linux with Python 3.11")
    pinned = {name_of(line): line.partition("==")[2].partition(" ")[0] for line in lines("UV_CONSTRAINT")}
    loose = {"grpo-harness", "pip", *map(name_of, lines("UV_OVERRIDE"))}
    # Not all of sys.path: what an import has put there, as setuptools its own copies, is no installed package.
    environment = distributions(path=[sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    installed = {name_of(each.name): each.version.partition("+")[0] for each in environment}
    other = {name: version for name, version in installed.items() if name not in loose and pinned.get(name) != version}
    assert not other, f"not as {os.environ['UV_CONSTRAINT']} has it"


def record(name: str, *ids: str) -> dict:
    """What pip-audit says of a package that its service knows."""
    return {"name": name, "version": "1.0", "vulns": [{"id": each, "fix_versions": ["1.1"]} for each in ids]}


UNKNOWN = {"name": "a", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "words"),
    [
        ([record("a"), record("b")], [], 0, ["pypi knows 2 of 3 pins, 0 of them"]),
        ([record("a"), UNKNOWN], [], 0, ["pypi knows 1 of 3 pins"]),
        ([record("a", "CVE-1")], [], 1, ["a 1.0: CVE-1, fixed in 1.1", "1 of them as vulnerable"]),
        ([UNKNOWN] * 3, [record("a", "CVE-1")], 1, ["pypi has no record", "a 1.0: CVE-1"]),
        ([UNKNOWN] * 3, [], 0, ["skipped, as the vulnerability data cannot be reached"]),
        ([], [], 0, ["skipped, as the vulnerability data cannot be reached"]),
    ],
)
def test_the_audit_fails_on_what_is_known_and_says_what_is_not(tmp_path, monkeypatch, capsys, pypi, osv, code, words):
    (tmp_path / "one.txt").write_text("# a comment\na==1.0\nb==2.0\n")
    (tmp_path / "two.txt").write_text('a==1.1\nb==2.0\nc ; sys_platform == "never"\n')
    monkeypatch.setattr(audit, "CONSTRAINTS", tmp_path)
    answers = {"pypi": iter([pypi, []]), "osv": iter([osv, []])}
    monkeypatch.setattr(audit, "asked", lambda pinned, service: next(answers[service]))
    assert audit.pins(tmp_path) == ["a==1.0", "a==1.1", "b==2.0"]
    assert audit.groups(audit.pins(tmp_path)) == [["a==1.0", "b==2.0"], ["a==1.1"]]
    assert audit.main() == code
    said = capsys.readouterr().out
    assert all(each in said for each in words), said
