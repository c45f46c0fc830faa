"""Texts that act where somebody forgets that they are texts: in a page, Markdown, a terminal, a path, a table.

Each must come out as text wherever a model, a dataset or a name can put it; test_hostile_texts.py holds every report to
that, test_hostile_arguments.py the command line.
A new way to act is a line here.
"""

import contextlib
import io
import re
from html.parser import HTMLParser

from harness.cli import exit_code_of
from harness.cli.app import app

HARMLESS = "x"
# What GitHub makes links of, and whom it calls, without any sign of Markdown's.
BY_ITSELF = re.compile(r"\w://|www\.\w|@\w", re.IGNORECASE)
FAR = "https://far.example/x"
# What GitHub, Azure and TeamCity take for a command to themselves, in whatever a job prints.
ORDER = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)

TEXTS = {
    # The first seven also go through a real browser, in test_report_page.py.
    "script": "<script>document.title = 'hurt'</script><img src=x onerror=\"document.title='hurt'\">",
    "end of the data": "</script><script>document.title = 'hurt'</script><!--",
    "broken UTF-8": "\ud800 half a pair \udfff",
    "long": "x" * 100_000,
    "right to left": "\u202eabc\u202d \u0634\u0643\u0631\u0627 \u2067\u2067\u2067",
    "terminal": "\x1b[31m\x00\x07\x9b2J",
    "template": "{{ 7 * 7 }} ${7 * 7} $x^2$ % <style>body { display: none }</style>",
    # Pages.
    "attribute": "\" onmouseover=alert(1) x=\"' onfocus=alert(1) autofocus x='",
    "unquoted attribute": "x onload=alert(1) style=background:url(//far.example)",
    "script address": "javascript:alert(1) <a href=javascript:alert(1)>x</a> data:text/html,<script>alert(1)</script>",
    "end of the style": "</style><style>@import url(//far.example/x.css); * { background: url(//far.example) }",
    "comment": "--> <!-- x --!> <![CDATA[ x ]]> <?php x ?> <!DOCTYPE x>",
    "vector graphic": f"<svg onload=alert(1)><image href={FAR} /><foreignObject><iframe src={FAR}></svg>",
    "formula markup": "<math><mtext></table><mglyph><style><img src=x onerror=alert(1)></math>",
    "refresh": f"<meta http-equiv=refresh content='0;url={FAR}'><base href=//far.example/><link rel=x href=//x>",
    "form": f"</pre></details></main></body></html><form action={FAR}><input name=x></form><textarea><title>",
    "entities": "&lt;script&gt; &#60;b&#62; &amp;amp; &NotEqualTilde; &#x202e;",
    "half-open tag": "<img src=//far.example/",
    "wide signs": "＜script＞alert(1)＜/script＞ ʺ onload=alert(1)",
    # Templates.
    "jinja": "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}{# x #}",
    "format": "%s %n %(x)s {0.__class__} {view.command} ${HOME} `id` $(id)",
    # Markdown.
    "links": f"[x]({FAR}) ![x]({FAR}) [x][1] [1]: {FAR} <{FAR}> {FAR} www.far.example me@far.example",
    "script link": "[x](javascript:alert(1)) [x]: javascript:alert(1) ![x](x \"onerror='alert(1)\")",
    "a cell's end": "a | b || c \\| d \\\\| e |",
    "code": "`x` ``` x ~~~ x `` ` `` \\` \\",
    "rules": "# x ## y --- *** ___ === > x - x + x * x 1. x 1) x - [ ] x : x",
    "a list": "- x",
    "a numbered list": "1. x",
    "a heading's line": "===",
    "emphasis": "*x* **x** _x_ __x__ ~~x~~ ==x== ^x^ $x$ $$x$$ \\(x\\) ||x|| :x: [^1] x<br>y",
    "mention": "@everyone @far/team far/x#1 #1 GH-1",
    "lines": "x\n# y\n\n| a | b |\n|---|---|\n\n```\nz\n\n<script>alert(1)</script>\n\n---\nx: y\n",
    "break": "x  \ny\\\nz",
    # Terminals.
    "colours": "\x1b[1;31mred\x1b[0m \x1b[2J\x1b[H \x1b[999D\x1b[K",
    "link of a terminal": f"\x1b]8;;{FAR}\x1b\\x\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07 \x1b]0;title\x07 \x1bP+q\x1b\\ \x1b_x\x1b\\ \x1b^x\x1b\\",
    "8-bit controls": "\x9b31m \x9d0;x\x9c \x90x\x9c \x85 \x8d \x84",
    "overwriting": "the truth\rlies\x08\x08\x08\x7f\x0b\x0c\x0e\x0f",
    "rich": "[red]x[/red] [/] [link=file:///etc/passwd]x[/link] [bold",
    "directions": "\u202e\u2066\u2067\u2068\u2069\u202a\u202c\u200e\u200f\u061c x",
    "invisible": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh\U000e0041i\u3164",
    "no character": "\x00 \ufffe \uffff \U0010ffff \ufdd0",
    "lines of Unicode": "a\u2028b\u2029c\x85d\x1ce\x1df\x1eg",
    "marks in a heap": "x" + "\u0335\u0489" * 60,
    "workflow": "::error file=x::y ::add-mask::x ##[command]x",
    "workflow on lines": "x\n::set-output name=x::y\n \t::stop-commands::x\n##vso[task.setvariable variable=x]y",
    "workflow in parts": "##teamcity[x] ###[x] #### [x] :: ::x:: a::b",
    # Tables and files.
    "formula": "=cmd|' /C calc'!A0 +1+1 -1+1 @SUM(1) \t=1 =HYPERLINK(\"https://far.example\")",
    "separators": "a,b;c\td\"e\"\"f'g",
    "JSON": '"}],"x":[{"y":"\\u0000\\"',
    "YAML": "--- !!python/object/apply:os.system ['id'] \n... # x: [y, {z: &a *a}] ? |- %TAG",
    "front matter": "x\n---\nlicense: mit\nmodel-index: []\n---\n{}\n...\n",
    "Modelfile": "x\"\"\"\nFROM /out\nSYSTEM \"\"\"y\" \nPARAMETER stop x\n\"",
    "details": "</summary></details><details open><summary>x<table><tr><td></p>",
    "XML": "]]> <!ENTITY x SYSTEM 'file:///etc/passwd'> &x; <x xmlns='y'/>",
    "way out": "../../../out",
    "absolute": "/out",
    "other way out": "..\\..\\out C:\\out \\\\far.example\\out file:///out ~/out $HOME/out",
    "dots": "..",
    "device": "CON",
    "option": "-rf --output=/out",
    "null": "null",
    "empty": "",
    "white": " \t ",
    "long name": "n" * 300,
    "wide name": "\u4e00" * 200,
}  # fmt: skip


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, its addresses, and its text."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attributes)))
        for name, value in attributes:
            if name.endswith(("href", "src", "action", "srcset", "data", "poster", "formaction", "background")):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("!--",))

    def handle_decl(self, decl: str) -> None:
        self.elements.append(("!", decl))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("?",))

    def unknown_decl(self, data: str) -> None:
        self.elements.append(("![",))

    def handle_data(self, data: str) -> None:
        self.text += data


def controls(text: str, allowed: str = "\n") -> set[str]:
    """What in a text a terminal obeys or a reader cannot see."""
    return {each for each in text if not each.isprintable() and each not in allowed}


def called(*arguments: object) -> tuple[int, str]:
    """A command's exit code, and all that it printed, which no system that runs CI takes for a command."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        code = exit_code_of(lambda: app([*map(str, arguments)], standalone_mode=False))
    assert not ORDER.search(out.getvalue()), out.getvalue()
    return code, out.getvalue()
