"""Where in a reply's free text the answer stands: what it states, else its last number; never what that says."""

import re
from collections.abc import Iterator

from harness.parsing.formulas import Formula, formulas
from harness.parsing.numbers import LONGEST_ANSWER, numbers, plain_digits
from harness.parsing.reading import undressed, unemphasised

USUAL_NUMBER = 60
LONGEST_STATEMENT = 300
MOST_STATEMENTS = 20

DIGITS = "0123456789½⅓⅔¼¾"
_STATED = re.compile(rf"[{DIGITS}\\$]")
_MARKER = re.compile(r"(?<!#)####(?!#)[ \t]*([^\n]{1,300})")
_HEADING = re.compile(r"\W{0,4}[0-9]{1,3}(?:[.)]\s+|:\s)\S|\W{0,4}(?:step|langkah|part|case)\b", re.IGNORECASE)
_OPENS_ANSWER = re.compile(
    r"[\s*_$€£¥₹(\\\[{+-]{0,12}(?:[A-Z]{2,3}\$?|Rp\.?|Rs\.?|boxed|fbox|[dt]?frac|sqrt|text|minus|negative|[A-Za-z]\s?=)?"
    rf"[\s$€£{{.(-]{{0,6}}[{DIGITS}]"
)
_BOX = re.compile(r"\\f?box(?:ed)?\s?\{")
_BOX_NAMES = ("\\boxed", "\\fbox")
_JOINED = re.compile(
    r"[\s$.]{0,4}(?:\\[)\]])?(?:\s|\$|\\q?quad|\\[ ,;]){0,4}(?:,|;|,?\s?(?:\\text\s?\{\s?)?(?:and|or|dan|atau)\b)"
    r"(?:\s|[$}]|\\q?quad|\\[ ,;(\[]){0,6}"
)
# One of these is in every sentence about the answer: a text without them is not searched.
_ANSWER_WORDS = (
    "nswer", "NSWER", "awaban", "AWABAN", "espuesta", "esposta", "éponse", "ntwort", "isposta", "ntwoord", "evap",
    "твет", "答案", "答え", "정답",
)  # fmt: skip
# Both cases are spelt out: `re` looks for letters much faster than for letters of any case.
_ANSWER = re.compile(
    r"[Aa](?:nswer|ntwort|ntwoord)|ANSWER|[Jj]awaban(?:nya)?|JAWABAN|[Rr](?:espuesta|esposta|éponse|isposta)|[Cc]evap"
    r"|[Оо]твет|答案|答え|정답"
)
_SAYS = re.compile(
    r"(?![A-Za-z])(?:(?:\s(?:to|of|for)\s[^.:\n=]{0,80}?|\s(?:akhir(?:nya)?|correcta|finale?))?(?:\*\*|__)?\s?"
    r"(?:is|are|was|equals|would be|should be|must be|adalah|ialah|yaitu|es|est|ist|é|è|=|[:：]|是|为|為)"
    r"(?![A-Za-z])(?:\*\*|__)?[ \t]{0,9}[:：]?|[ \t](?=\$|\\[(\[])|(?P<heading>[*_ \t]{0,8})(?=\n))",
    re.IGNORECASE,
)
_HEADS = re.compile(r"[#*_ \t]{0,8}(?:(?:the )?final )?", re.IGNORECASE)
_CLAUSE_END = re.compile(
    r"[.!?](?=[\s*)\]\"”']|$)|[。！？;；\n]|,(?=\s+(?!(?:and|or|dan|atau)\b)[A-Za-z])"
    r"|\s(?=(?:because|since|which|where|when|as|so|karena|sebab|sehingga|yang)\s)"
)
_COPULA = re.compile(r"\s(?:is|are|equals|adalah|ialah)\s+")
_DENIED = re.compile(r"(?:not|bukan|nicht|pas)\b|不", re.IGNORECASE)
# What makes the number behind it the end of something longer: a range, a time, another answer, a calculation.
_LEADING = re.compile(
    r"(?:[0-9½⅓⅔¼¾%]\s?[-–—~]|[0-9½⅓⅔¼¾%]\s(?:to|or|and|sampai|hingga|atau|dan)\s|[\w.)(]{1,30}\s?[+*×÷·/^]{1,2}"
    r"|[\w.)(}{]{0,30}(?:\\[A-Za-z]{1,20}\s?\{?|√|sqrt\s?\(?))\s?$|[0-9]:$"
)
_FOLLOWING = re.compile(
    r"%|(?:\s?[+*×÷·^√π]\s?[\w.(){}√π^]{1,30}){1,8}|\s?(?:sqrt|pi)\b\S{0,20}|\}{1,3}|[a-z](?![\w'’])"
)
_ONE_WORD = re.compile(r"\W*\(?([^\W\d_]{1,20})\)?\W*")


def stated(text: str, finished: bool = True) -> str | None:
    r"""The answer that free text gives: its last explicit statement, else, where it is `finished`, its last number.

    A statement is `####` with an answer behind it, `\boxed{}`, or such as "the answer is …". A number inside a formula
    is not read alone: the formula is the answer. Without any number the last formula is, or the one word stated.
    """
    statement = explicit(text)
    if statement is not None or not finished:
        return statement
    last = _last_number(text)
    if last is not None:
        return last
    if (last_formula := max(formulas(text), key=lambda each: each.start, default=None)) is not None:
        return last_formula.inner.strip()
    word = _ONE_WORD.fullmatch(text) if len(text) <= USUAL_NUMBER else None
    return word[1] if word else worded(text)


def explicit(text: str) -> str | None:
    """The last explicit statement of an answer, or None. A box wins over the sentence that leads to it."""
    boxed, marked, statement = _boxed(text), _marked(text), _statement(text)
    if marked and (statement is None or statement < marked):
        statement = marked
    last = boxed if statement is None or (boxed and statement[0] < boxed[1]) else statement
    return last[2] if last else None


def worded(text: str) -> str | None:
    """The single word that the last sentence about the answer gives, such as "The answer is Yes"; or None."""
    for _, says in _sentences(text):
        if word := _ONE_WORD.fullmatch(_clause(text, says)):
            return word[1]
    return None


def _boxed(text: str) -> tuple[int, int, str] | None:
    """The last closed box, with those that `and`, `or` or a comma joins to it: where it stands and what it says."""
    last = max(map(text.rfind, _BOX_NAMES))
    box = _box_at(text, last) if last >= 0 else None
    if box is None:
        return None
    start = last
    for _ in range(MOST_STATEMENTS):
        earlier = max(text.rfind(name, max(0, start - LONGEST_STATEMENT), start) for name in _BOX_NAMES)
        before = _box_at(text, earlier) if earlier >= 0 else None
        if before is None or before[1] > start or not _JOINED.fullmatch(text, before[1], start):
            break
        start = earlier
    return start, box[1], box[0] if start == last else text[start : box[1]]


def _box_at(text: str, start: int) -> tuple[str, int] | None:
    """What the box that begins at `start` holds, and where it ends; None where it is not closed."""
    opening = _BOX.match(text, start)
    if opening is None:
        return None
    depth = 1
    for place in range(opening.end(), min(len(text), start + LONGEST_ANSWER)):
        if text[place] == "{":
            depth += 1
        elif text[place] == "}":
            depth -= 1
            if depth == 0:
                return text[opening.end() : place].strip(), place + 1
    return None


def _marked(text: str) -> tuple[int, int, str] | None:
    """The last `####` that an answer follows; a heading is none."""
    place = len(text)
    for _ in range(MOST_STATEMENTS):
        place = text.rfind("####", 0, place)
        if place < 0:
            return None
        marker = _MARKER.match(text, place)
        line = marker[1].strip() if marker else ""
        if line and _OPENS_ANSWER.match(plain_digits(line)) and not _HEADING.match(line):
            return place, marker.end(), line
    return None


def _statement(text: str) -> tuple[int, int, str] | None:
    """The last sentence that calls a number or a formula the answer."""
    for start, says in _sentences(text):
        clause = _COPULA.split(_clause(text, says))[-1]
        if _STATED.search(clause) and not _DENIED.match(clause):
            return start, says + len(clause), clause
    return None


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Each place, last first, where a sentence calls something the answer, and where it says what."""
    if not any(map(text.__contains__, _ANSWER_WORDS)):
        return
    for word in reversed(list(_ANSWER.finditer(text))[-MOST_STATEMENTS:]):
        says = _SAYS.match(text, word.end())
        if says and (says["heading"] is None or _is_heading(text, word.start())):
            yield word.start(), says.end()


def _is_heading(text: str, place: int) -> bool:
    """Whether nothing but a heading's signs, `final` or `the final` stands before a place on its line."""
    line = text.rfind("\n", 0, place) + 1
    return bool(_HEADS.fullmatch(text, max(line, place - USUAL_NUMBER), place))


def _clause(text: str, start: int) -> str:
    """What is stated from `start` on: to the end of the sentence, or where its reasons begin; no formula is cut."""
    piece = plain_digits(text[start : start + LONGEST_STATEMENT]).lstrip()
    inside = [(formula.start, formula.end) for formula in formulas(piece)] if "$" in piece or "\\" in piece else ()
    for end in _CLAUSE_END.finditer(piece):
        if not any(first < end.start() < last for first, last in inside):
            piece = piece[: end.start()]
            break
    return unemphasised(piece).strip(" \t\r*_")


def _last_number(text: str) -> str | None:
    """The last number that stands free, with what belongs to it; where it stands in a formula, the formula."""
    text = plain_digits(text)
    end = max(map(text.rfind, DIGITS))
    if end < 0:
        return None
    if holding := _formula_at(text, end):
        return holding
    for width in (USUAL_NUMBER, LONGEST_ANSWER):
        start = max(0, end - width)
        last = _last_free(undressed(text[start : end + USUAL_NUMBER]))
        if last and (last[0] > width // 2 or start == 0):
            break
    return last[1] if last else None


def _last_free(text: str) -> tuple[int, str] | None:
    """Where the last number that hangs on no letter stands, and its text; the calculation or range that it ends."""
    free = [each for each in numbers(text) if not each.glued]
    if not free:
        return None
    start, end = free[-1].start, free[-1].end
    while before := _LEADING.search(text, max(0, start - USUAL_NUMBER), start):
        start = before.start()
    if behind := _FOLLOWING.match(text, end):
        end = behind.end()
    return start, text[start:end].strip().rstrip(" .")


def _formula_at(text: str, place: int) -> str | None:
    """The formula that holds a place, with those that `and`, `or` or a comma joins to it."""
    before: list[Formula] = []
    for each in formulas(text):
        if each.start <= place < each.end:
            start = each.start
            for earlier in reversed(before[-MOST_STATEMENTS:]):
                if not _JOINED.fullmatch(text, earlier.end, start):
                    break
                start = earlier.start
            return each.inner.strip() if start == each.start else text[start : each.end]
        before.append(each)
    return None
