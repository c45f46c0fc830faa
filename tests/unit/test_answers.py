import json
import threading
from fractions import Fraction

import pytest

from harness.parsing import answers
from harness.parsing.answers import Answer
from harness.parsing.numbers import numbers
from harness.parsing.reading import number
from harness.parsing.statements import stated

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
    ("²", None),
    ("nan", None),
]


# What stands here for itself: a sign, a grouping or a unit, each with its neighbours that must not be taken for it.
MORE_NUMBERS = {
    "currency": [
        ("Rp1.250.000", 1250000), ("Rp 18.000", 18000), ("Rp18.000,00", 18000), ("€1.234,50", Fraction("1234.5")),
        ("€12,50", Fraction("12.5")), ("12,50 €", Fraction("12.5")), ("€1,250", 1250),
        ("€1,234.50", Fraction("1234.5")), ("US$34", 34), ("USD 34", 34), ("-Rp5.000", -5000),
        ("34 dollars and 50 cents", None),
    ],
    "groupings": [
        ("₹1,00,000", 100000), ("1,00,00,000", 10000000), ("12,345,67", None), ("1'250", 1250),
        ("1’250’000", 1250000), ("1_250", 1250), ("12'5", None), ("1.234.567", 1234567), ("1.234.56", None),
        ("1.234,5", Fraction("1234.5")), ("1.250", Fraction("1.25")), ("0,111", None), ("12,34", None),
        ("1 000 000", 1000000), ("4 250-gram bars", None), ("000", 0), ("1,2,3", None), ("1.2.3", None),
    ],
    "scales": [
        ("$5 million", 5000000), ("1.2M", 1200000), ("150k", 150000), ("150K", 150000), ("$1.5B", 1500000000),
        ("2.5bn", 2500000000), ("5 ribu rupiah", 5000), ("1.5 juta", 1500000), ("2 miliar", 2 * 10**9), ("3万", 30000),
        ("1亿", 10**8), ("3百万", 3000000), ("2 lakh", 200000), ("1.5 crore", 15000000), ("5 hundred thousand", 500000),
        ("5 m", 5), ("5千克", 5), ("3千米", 3), ("5 kg", 5), ("5 M", None), ("5 millionaires", 5),
    ],
    "powers of ten": [
        ("1.5 × 10^3", 1500), ("1.5 x 10^{3}", 1500), (r"1.5 \times 10^3", 1500),
        (r"1.5\cdot10^{-1}", Fraction("0.15")), ("1.5·10³", 1500), ("1.5e3", 1500), ("1.5E+3", 1500), ("10^3", None),
    ],
    "fractions": [
        ("½", Fraction(1, 2)), ("2½", Fraction(5, 2)), ("2 ½", Fraction(5, 2)), ("3⅓", Fraction(10, 3)),
        ("-1½", Fraction(-3, 2)), ("2 2/3", Fraction(8, 3)), ("1/2 cup", Fraction(1, 2)), (r"\frac{68}{2}", 34),
        (r"\dfrac12", Fraction(1, 2)), ("3/4/2024", None),
    ],
    "signs": [
        ("minus 3", -3), ("negative 3", -3), ("Minus $5", -5), ("+5", 5), ("–5", -5), ("- 5", -5),
        ("5 minus 3", None), ("5 ± 1", None),
    ],
    "several": [
        ("5-7", None), ("5 – 7", None), ("5 to 7", None), ("between 5 and 7", None), ("7:30", None),
        ("7:30 pm", None), ("12:00", None), ("5 or 6", None), ("5, 6", None), ("x = 5, y = 6", None),
        ("x = 5 or x = 5.0", 5), ("2024-05-06", None), ("5%-10%", None), ("x > 5", None), (r"x \geq 5", None),
        ("> 5", None),
    ],
    "formulas": [
        (r"12\sqrt{5}", None), ("12√5", None), ("$2^{10}$", None), ("2^10", None), ("34²", None),
        (r"34+\frac{1}{\mathrm{e}}", None), (r"34 + \text{rest}", None), (r"34\sqrt{\text{n}}", None), ("34x", None),
        ("34 x", None), ("3x + 4", None), ("2(6)", None), ("3 x 4", None), ("3 x 4 = 12", 12), ("34π", None),
        ("sqrt(34)", None), ("AZYUK2A", None), ("CO2", None), ("x_2", None), ("10/3 ≈ 3.33", Fraction(10, 3)),
        ("x ≈ 3.14", Fraction("3.14")),
    ],
    "units": [
        ("34 m^2", 34), ("34 km/h", 34), ("34 kg/m^3", 34), ("34 m/s^2", 34), ("34 cm²", 34),
        (r"34\,\text{cm}^2", 34), ("34°", 34), (r"34^\circ", 34), (r"34^{\circ}", 34), ("34 °C", 34), ("$5/hour", 5),
        ("60 percent", 60), (r"60\%", 60), ("34 sq ft", 34),
    ],
    "remarks": [
        ("34 (thirty-four)", 34), ("12 (after 3 steps)", 12), (r"34 \text{ (thirty-four)}", 34), ("(34)", 34),
        ("[34]", 34), ("f(3)", None),
    ],
    "dress": [
        ("*34*", 34), ("**34 ways**", 34), ("_34_", 34), ("`34`", 34), ("'34'", 34), ("34!", 34), (r"\[34\]", 34),
        ("\\[\n34\n\\]", 34), (r"\(34\)", 34), ("$$34$$", 34), (r"\text{34}", 34), (r"\mathbf{34}", 34),
        ("<b>34</b>", 34), (r"\$1{,}250", 1250), (r"16,\!386.20", Fraction("16386.2")), ("14 {, }916", 14916),
        (r"\[ \boxed{42} \]", 42),
    ],
    "digits": [
        ("３４", 34), ("１，０００", 1000), ("٣٤", 34), ("१२", 12), ("三十四", None), ("five", None),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), [*NUMBERS, *(row for rows in MORE_NUMBERS.values() for row in rows)])
def test_number(text, value):
    assert answers.number(text) == value


POINTED = [
    ("18.000", 18000), ("1.234", 1234), ("12,5", Fraction("12.5")), ("1,5 juta", 1500000), ("2.5", Fraction("2.5")),
    ("0.125", Fraction("0.125")), ("1,250", 1250), ("18.000,50", Fraction("18000.5")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), POINTED)
def test_number_where_points_group(text, value):
    assert number(text, points=True) == value


@pytest.mark.parametrize(
    "text", ["Rp18.000,00", "₹1,00,000", "1.234.567", "1'250", "12,345,67", "1.2.3", "1_2", "7:30"]
)
def test_no_part_of_a_number_is_a_number(text):
    assert len([each for each in numbers(text) if not each.glued]) == (2 if ":" in text else 1)


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
    ("#### Step 2: add 3\nThat is 8.", "8"),
    ("#### 2. Add the rest\nThat is 8.", "8"),
    ("#### Answer\n12\nChecked 3 times", "12"),
    ("##### 7\nso 12", "12"),
    ("####12", "12"),
    ("#### 11\nno:\n#### 12\nbye 7", "12"),
    ("#### 11\nso \\boxed{12} of 7", "12"),
    ("\\boxed{11}\n#### 12 apples", "12 apples"),
    ("The answer is 12, which is 3 more than 9.", "12"),
    ("The answer is 12 because 6 * 2 = 12, not 7.", "12"),
    ("The final answer is $2^{10}$, I hope. See page 7", "$2^{10}$"),
    ("Final Answer: The largest $n$ is 34. It took 3 steps", "34"),
    ("Answer:\n\n12\n\nI am 100% sure.", "12"),
    ("**Answer: 12** (of 40)", "12 (of 40)"),
    ("The answer is not 5 but 12", "12"),
    ("Jadi jawabannya adalah 12 buku. Lihat halaman 7", "12 buku"),
    ("答案是12。共7步", "12"),
    ("The answer is 5 or 6", "5 or 6"),
    ("\\boxed{5} or \\boxed{6}", "\\boxed{5} or \\boxed{6}"),
    ("first \\boxed{83}, then \\boxed{84}", "84"),
    ("\\boxed{\\boxed{34}}", "34"),
    ("The area is $12\\sqrt{5}$.", "12\\sqrt{5}"),
    ("The area is 12\\sqrt{5}.", "12\\sqrt{5}"),
    ("The area is 12√5.", "12√5"),
    ("It is 34 + x.", "34 + x"),
    ("It is $5$ and $6$", "$5$ and $6$"),
    ("It costs $5 and then $7.", "$7"),
    ("It takes 5-7 days.", "5-7"),
    ("It starts at 7:30.", "7:30"),
    ("Between 5 and 7", "5 and 7"),
    ("Step 1: 5. Step 2: 6", "6"),
    ("So it is $7{,}250.", "$7,250"),
    ("So Rp18.000,00", "Rp18.000,00"),
    ("She earned ₹1,00,000 in all.", "₹1,00,000"),
    ("They sold 5 ribu.", "5 ribu"),
    ("My result: 42!", "42"),
    ("Yes", "Yes"),
    ("The answer is (C).", "C"),
    ("That is my answer.", None),
]


@pytest.mark.parametrize(("text", "answer"), FINAL)
def test_what_a_text_states(text, answer):
    assert stated(text) == answer


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
    ("2^{10}", "1024", "number", True),
    ("2^{10}", "10", "number", False),
    (r"\sqrt{16}", "4", "number", True),
    (r"5 \times 8", "40", "number", True),
    ("10 - 5", "5", "number", False),
    ("9^9^9^9", "5", "number", False),
    ("7:30", "7:30", "number", True),
    ("5-7", "5-7", "number", True),
    ("**Yes**", "yes", "number", True),
    ("x+1", "1", "number", False),
    ("5 boxes, so \\boxed{42}", "42", "number", True),
    ("60%", "60", "number", True),
    ("**34**", "34", "math", True),
    ("34 m^2", "34", "math", True),
    ("34 m^2", "34n^2", "math", False),
    ("34x", "34", "math", False),
    ("34x", "34 x", "math", True),
    ("5!", "120", "math", True),
    ("5!", "5", "math", False),
    (r"34+\frac{1}{\mathrm{e}}", "34", "math", False),
    ("34 sqrt(2)", "34", "math", False),
    ("3 + 4 sqrt(2)", "7", "math", False),
    ("2√3", r"2\sqrt{3}", "math", True),
    ("2√3", "2", "math", False),
    ("1 2", "3", "math", False),
    ("1, 2, 3", "1,2,3", "math", True),
    ("3, 2, 1", "1,2,3", "math", True),
    ("1, 2", "1,2,3", "math", False),
    ("32, 349", "32349", "math", False),
    (r"\text{Yes}", "Yes", "math", True),
    (r"\text{No}", "Yes", "math", False),
    (r"\text{(C)}", "C", "math", True),
    ("0.333333333", r"\frac{1}{3}", "math", True),
    ("0.33", "0.333", "math", False),
    (r"28\%", r"28\%", "math", True),
    ("28 pct", r"28\%", "math", True),
    (r"[0,1)", r"[0,1]", "math", False),
    (r"x \in [-2,7]", "[-2,7]", "math", True),
    (r"x^2+2x+1", "(x+1)^2", "math", True),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", "math", True),
]


@pytest.mark.parametrize(("candidate", "truth", "equality", "same"), EQUAL)
def test_equal(candidate, truth, equality, same):
    assert answers.equal(candidate, truth, equality) is same


def test_no_true_answer_is_unscorable():
    with pytest.raises(answers.Unscorable, match="no true answer"):
        answers.is_right(Answer("72"), None, "number")


def test_the_authors_labels_of_1000_solutions(test_data):
    rows = [json.loads(line) for line in (test_data / "gold" / "gsm8k_solutions.jsonl").open()]
    judged = [answers.is_right(Answer(stated(row["solution"])), row["answer"], "number") for row in rows]
    assert len(rows) == 1000
    assert judged == [row["is_correct"] for row in rows]


def test_mathematics_compares_outside_the_main_thread_too():
    pair, same = (r"\frac{\sqrt{7}}{7}", r"\frac{1}{\sqrt{7}}"), []
    thread = threading.Thread(target=lambda: same.append(answers.equal(*pair, "math")))
    thread.start()
    thread.join()
    assert same == [answers.equal(*pair, "math")] == [True]
