"""What a gate says, as CI reads it: JUnit XML and a section of Markdown."""

import re
from xml.etree import ElementTree

from harness.console.markdown import escaped
from harness.statistics.gate import HEAD, GateResult

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(outcome: GateResult) -> str:
    """The result as JUnit XML, one test case per metric."""
    failed = [each for each in outcome.metrics if not each.holds]
    counts = {"tests": str(len(outcome.metrics)), "failures": str(len(failed)), "errors": "0", "skipped": "0"}
    suite = ElementTree.Element("testsuite", {"name": "harness", **counts, "time": "0"})
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("side", "baseline", "problems"):
        value = _xml(str(getattr(outcome, key)))
        ElementTree.SubElement(properties, "property", {"name": key, "value": value})
    for each in outcome.metrics:
        named = {"classname": "harness.gate", "name": _xml(each.name), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if not each.holds:
            failure = ElementTree.SubElement(case, "failure", {"type": each.result, "message": _xml(each.reason)})
            failure.text = _xml("\n".join(f"{head}: {cell}" for head, cell in zip(HEAD, each.cells, strict=True)))
    ElementTree.SubElement(suite, "system-out").text = _xml("\n".join((outcome.line, *outcome.notes)))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, "utf-8", xml_declaration=True).decode() + "\n"


def markdown(outcome: GateResult) -> str:
    """The result as a section of Markdown."""
    rows = [HEAD, (":--", *["--:"] * (len(HEAD) - 2), ":--"), *(each.cells for each in outcome.metrics)]
    table = "\n".join("| " + " | ".join(map(escaped, row)) + " |" for row in rows)
    said = "".join(f"- {escaped(text)}\n" for text in (*outcome.reasons, *outcome.notes))
    return f"### harness {escaped(outcome.line)}\n\n{escaped(outcome.title)}\n\n{table}\n\n{said}\n"


def _xml(text: str) -> str:
    """Without the characters that XML 1.0 does not allow."""
    return NOT_IN_XML.sub("", text)
