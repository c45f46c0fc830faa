"""A reply on the terminal, with its parsed parts marked."""

from harness.cli.show import printable
from harness.parsing import formats
from harness.types import Format

LONGEST_SHOWN = 4000


def quoted(text: str | None) -> str:
    return "nothing" if text is None else f"'{printable(text)}'"


def marked(reply: str, format: Format | None) -> str:
    """The reply, indented and without control characters, its parsed parts in ⟦reasoning: …⟧ and ⟦answer: …⟧."""
    shown = reply[:LONGEST_SHOWN]
    places = formats.part_places(reply, format) if format else {}
    edges = [(start, f"⟦{name}: ") for name, (start, _) in places.items()] + [(end, "⟧") for _, end in places.values()]
    for place, mark in sorted(edges, reverse=True):
        if place <= len(shown):
            shown = shown[:place] + mark + shown[place:]
    if len(reply) > LONGEST_SHOWN:
        shown += f" … and {len(reply) - LONGEST_SHOWN} characters more"
    return "\n".join(f"    {printable(line)}" for line in shown.split("\n"))


def parts(reply: str, format: Format, eos: str | None) -> None:
    """Print how our parser reads a reply: each tag with its place, whether the format is kept, and the reply marked."""
    places = formats.tag_places(reply, format)
    print(f"tags of {format.name} seen (line:column):" + ("" if places else " none"))
    for place, tag in places:
        line = reply.count("\n", 0, place) + 1
        print(f"    {line}:{place - reply.rfind(chr(10), 0, place)}  {tag}")
    breach = formats.breach(reply, format, eos)
    print(f"format: {'as required' if breach is None else f'broken: {breach}'}")
    print(f"{marked(reply, format)}\n")
