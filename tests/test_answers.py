import json
import threading
from fractions import Fraction

import pytest

from harness import answers

NUMBERS = [
    ("72", 72),
    (" 72 ", 72),
    ("72.", 72),
    ("72.0", 72),
    ("072", 72),
    ("-5", -5),
    ("−5", -5),
    ("- 5", -5),
    ("$72", 72),
    ("-$5", -5),
    ("$-5", -5),
    (r"\$18", 18),
    ("€ 7", 7),
    ("1,000", 1000),
    ("1,234,567.50", Fraction("1234567.5")),
    ("$1{,}000$", 1000),
    ("72%", 72),
    (r"80\%", 80),
    ("72 apples", 72),
    ("The answer is. 72", 72),
    ("10.5.", Fraction("10.5")),
    (".5", Fraction(1, 2)),
    ("3/4", Fraction(3, 4)),
    (r"\frac{1}{2}", Fraction(1, 2)),
    (r"\boxed{34}", 34),
    ("48 + 24 = 72", 72),
    ("x = 5", 5),
    ("**18**", 18),
    ("0", 0),
    ("(-5)", -5),
    ("72 cm^2", 72),
    ("72 m2", 72),
    (r"$72\text{ cm}^2$", 72),
    ("Rp5000", 5000),
    ("1 000", 1000),
    ("1\u202f000", 1000),
    ("72 = x", 72),
    ("72 or 72", 72),
    ("3 1/2", Fraction(7, 2)),
    (r"3\frac{1}{2}", Fraction(7, 2)),
    (r"\frac12", Fraction(1, 2)),
    ("1e6", 10**6),
    ("1e99999", None),
    ("72/0", None),
    ("7_2", None),
    ("7" * 1001, None),
    ("", None),
    ("unknown", None),
    ("73 or 72", None),
    ("1,2", None),
    ("10-5", None),
    ("٧٢", None),
    ("²", None),
    ("nan", None),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_number(text, value):
    assert answers.number(text) == value


FINAL = [
    ("She has 5 apples.\n#### 72", "72"),
    ("#### 1,000\nnot this 7", "1,000"),
    (r"So \boxed{\frac{1}{2}} and then \boxed{3} of 9", "3"),
    (r"nested \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ("first 3, then 5 - 2 = 3, in all 1,200.", "1,200"),
    (r"open \boxed{3", "3"),
    ("It covers 72 cm^2.", "72"),
    ("That makes 1 000.", "1 000"),
    ("5 apples" + " and so on" * 500, "5"),
    ("no digits at all", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), FINAL)
def test_final_answer(text, answer):
    assert answers.final_answer(text) == answer


EQUAL = [
    ("1,000", "1000", "number", True),
    ("$1,000.00", "1000", "number", True),
    ("0.0", "0", "number", True),
    ("9007199254740992", "9007199254740993", "number", False),
    ("unknown", "72", "number", False),
    ("", "72", "number", False),
    (r"\frac{408}{2}", "204", "math", True),
    ("2^3", "8", "math", True),
    (r"\sqrt{16}", "4", "math", True),
    (r"\sqrt{16}", "16", "math", False),
    ("(1, 2)", "(1,2)", "math", True),
    ("{{{", "4", "math", False),
    ("x", "8", "math", False),
    ("204.", "204", "math", True),
    ("9" * 300 + "+0", "9" * 300, "math", False),
]


@pytest.mark.parametrize(("candidate", "truth", "equality", "same"), EQUAL)
def test_equal(candidate, truth, equality, same):
    assert answers.equal(candidate, truth, equality) is same


def test_no_true_answer_is_unscorable():
    with pytest.raises(answers.Unscorable, match="no true answer"):
        answers.is_right("72", None, "number")


def test_the_authors_labels_of_1000_solutions(test_data):
    rows = [json.loads(line) for line in (test_data / "gold" / "gsm8k_solutions.jsonl").open()]
    judged = [answers.is_right(answers.final_answer(row["solution"]), row["answer"], "number") for row in rows]
    assert len(rows) == 1000
    assert judged == [row["is_correct"] for row in rows]


def test_mathematics_compares_outside_the_main_thread_too():
    pair, same = (r"\frac{\sqrt{7}}{7}", r"\frac{1}{\sqrt{7}}"), []
    thread = threading.Thread(target=lambda: same.append(answers.equal(*pair, "math")))
    thread.start()
    thread.join()
    assert same == [answers.equal(*pair, "math")] == [True]
