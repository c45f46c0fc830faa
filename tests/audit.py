"""tox -e audit: has a version that constraints/ pins a known vulnerability? Where nobody can be asked, a word says so.

Exit code 1: one has; 0: none has, or the data are out of reach, which is said. What a registry has no record of is
counted, as pip-audit alone takes it for sound.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints"
SERVICES = ("pypi", "osv")
SECONDS = 300


def pins(folder: Path) -> list[str]:
    """Every name==version that a file pins."""
    found = set()
    for file in folder.glob("*.txt"):
        lines = (line.partition(";")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
        found |= {line for line in lines if "==" in line and not line.startswith("#")}
    return sorted(found)


def groups(pinned: Sequence[str]) -> list[list[str]]:
    """The pins in as few lists as hold each name once, which is what pip-audit takes."""
    versions: dict[str, list[str]] = {}
    for pin in pinned:
        versions.setdefault(pin.partition("==")[0], []).append(pin)
    deepest = max(map(len, versions.values()), default=0)
    return [[each[place] for each in versions.values() if place < len(each)] for place in range(deepest)]


def asked(pinned: Sequence[str], service: str) -> list[dict]:
    """What a service says of each pin; nothing where it cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    command += ["--format", "json", "--vulnerability-service", service, "--requirement", "/dev/stdin"]
    try:
        done = subprocess.run(
            command, input="\n".join(pinned), capture_output=True, text=True, timeout=SECONDS, check=False
        )
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return []


def main() -> int:
    pinned = pins(CONSTRAINTS)
    for service in SERVICES:
        said = [each for group in groups(pinned) for each in asked(group, service)]
        known = [each for each in said if "vulns" in each]
        if not known:
            print(f"audit: {service} has no record of any of {len(pinned)} pins, or cannot be reached")
            continue
        bad = [each for each in known if each["vulns"]]
        for each in bad:
            for found in each["vulns"]:
                fixed = ", ".join(found["fix_versions"]) or "no version"
                print(f"{each['name']} {each['version']}: {found['id']}, fixed in {fixed}")
        print(f"audit: {service} knows {len(known)} of {len(pinned)} pins, {len(bad)} of them as vulnerable")
        return 1 if bad else 0
    print("audit: skipped, as the vulnerability data cannot be reached from here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
