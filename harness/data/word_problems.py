"""The embedded dataset: small word problems with reasoning in English and Indonesian, made by a generator.

A problem's split follows from the hash of its question, so training and test problems cannot overlap.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle

from harness.types import Problem

TRAIN_PROBLEMS = 3000
TEST_PROBLEMS = 300

NAMES = ("Ani", "Budi", "Citra", "Dewi", "Emma", "Farid", "Grace", "Hana", "Ivan", "Joko", "Lena", "Maya")
THINGS = {
    "apples": "apel", "books": "buku", "pencils": "pensil", "marbles": "kelereng", "stickers": "stiker",
    "eggs": "telur", "cakes": "kue", "shells": "kerang", "flowers": "bunga", "oranges": "jeruk",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    `ranges` bounds the random numbers (both ends included); `solve` takes them and returns all other numbers in the
    texts, with the result under `answer`. `steps` counts the operations of the solution.
    """

    name: str
    steps: int
    ranges: dict[str, tuple[int, int]]
    solve: Callable[..., dict[str, int]]
    question: str
    english: str
    indonesian: str


@dataclass(frozen=True)
class WordProblem:
    """A problem with its worked solution in both languages, as `{"en": …, "id": …}`."""

    problem: Problem
    reasoning: dict[str, str]


KINDS = (
    Kind(
        "gain", 1, {"a": (15, 460), "b": (12, 139)},
        lambda a, b: {"answer": a + b},
        "{name} has {a} {things}. A friend brings {b} more {things}. How many {things} does {name} have now?",
        "At first there are {a} {things} and then {b} more arrive. Together that makes {a} + {b} = {answer}.",
        "Pada awalnya ada {a} {benda}, kemudian datang lagi {b}. Jadi jumlah semuanya adalah {a} + {b} = {answer}.",
    ),
    Kind(
        "give-away", 1, {"left": (13, 450), "b": (12, 140)},
        lambda left, b: {"a": left + b, "answer": left},
        "{name} has {a} {things} and gives {b} of them to a neighbour. How many {things} are left?",
        "There were {a} {things} and {b} of them were given away. What is left is {a} - {b} = {answer}.",
        "Semula terdapat {a} {benda}, lalu {b} di antaranya diberikan. Yang tersisa adalah {a} - {b} = {answer}.",
    ),
    Kind(
        "rows", 1, {"a": (2, 12), "b": (2, 12)},
        lambda a, b: {"answer": a * b},
        "{name} puts {things} in {a} rows with {b} in each row. How many {things} is that?",
        "Each of the {a} rows holds {b} {things}. In all there are {a} x {b} = {answer}.",
        "Setiap baris dari {a} baris berisi {b} {benda}. Jumlah seluruhnya adalah {a} x {b} = {answer}.",
    ),
    Kind(
        "share", 1, {"answer": (2, 12), "b": (2, 10)},
        lambda answer, b: {"a": answer * b},
        "{name} shares {a} {things} equally among {b} children. How many {things} does each child get?",
        "The {a} {things} are divided among {b} children. Each of them gets {a} / {b} = {answer}.",
        "Setiap anak dari {b} anak mendapat bagian yang sama dari semua {benda} itu, yaitu {a} / {b} = {answer}.",
    ),
    Kind(
        "find-and-lose", 2, {"a": (10, 50), "b": (5, 40), "d": (2, 14)},
        lambda a, b, d: {"c": a + b, "answer": a + b - d},
        "{name} has {a} {things}, finds {b} more and loses {d}. How many {things} does {name} have in the end?",
        "With the ones found there are {a} + {b} = {c} {things}. After the loss there are {c} - {d} = {answer}.",
        "Bersama yang ditemukan ada {a} + {b} = {c} {benda}. Setelah ada yang hilang menjadi {c} - {d} = {answer}.",
    ),
    Kind(
        "broken", 2, {"a": (3, 9), "b": (4, 10), "d": (1, 11)},
        lambda a, b, d: {"c": a * b, "answer": a * b - d},
        "A shop gets {a} boxes with {b} {things} each, but {d} of them are broken. How many {things} are whole?",
        "The boxes hold {a} x {b} = {c} {things}. Without the broken ones there are {c} - {d} = {answer}.",
        "Kotak itu berisi {a} x {b} = {c} {benda}. Tanpa yang rusak masih ada {c} - {d} = {answer}.",
    ),
    Kind(
        "packs-and-singles", 2, {"a": (11, 39), "b": (3, 9), "d": (2, 30)},
        lambda a, b, d: {"c": a * b, "answer": a * b + d},
        "{name} buys {a} packs of {b} {things} and {d} single {things}. How many {things} is that in all?",
        "The packs contain {a} x {b} = {c} {things}. With the single ones that makes {c} + {d} = {answer}.",
        "Isi semua bungkus adalah {a} x {b} = {c} {benda}. Ditambah yang satuan menjadi {c} + {d} = {answer}.",
    ),
    Kind(
        "change", 2, {"a": (2, 9), "b": (2, 9), "rest": (1, 20)},
        lambda a, b, rest: {"c": a * b, "p": a * b + rest, "answer": rest},
        "{name} buys {a} {things} for {b} dollars each and pays with {p} dollars. How many dollars come back?",
        "The price of the {things} is {a} x {b} = {c} dollars. The money that comes back is {p} - {c} = {answer}.",
        "Harga {benda} itu adalah {a} x {b} = {c} dolar. Uang yang dikembalikan adalah {p} - {c} = {answer}.",
    ),
    Kind(
        "twice-as-many", 2, {"a": (3, 30)},
        lambda a: {"c": 2 * a, "answer": 3 * a},
        "{name} has {a} {things} and the brother has twice as many. How many {things} do they have together?",
        "The brother has 2 x {a} = {c} {things}. Both together have {a} + {c} = {answer}.",
        "Saudaranya mempunyai 2 x {a} = {c} {benda}. Berdua mereka mempunyai {a} + {c} = {answer}.",
    ),
    Kind(
        "savings", 2, {"s": (15, 240), "w": (11, 39), "n": (2, 8)},
        lambda s, w, n: {"c": w * n, "answer": s + w * n},
        "{name} has {s} dollars and saves {w} dollars a week for {n} weeks. How many dollars does {name} have then?",
        "The savings of those weeks are {w} x {n} = {c} dollars. With the first money that is {s} + {c} = {answer}.",
        "Tabungan selama itu adalah {w} x {n} = {c} dolar. Dengan uang semula menjadi {s} + {c} = {answer}.",
    ),
    Kind(
        "sister", 2, {"a": (4, 15), "d": (2, 9), "y": (2, 12)},
        lambda a, d, y: {"c": a + d, "answer": a + d + y},
        "{name} is {a} years old and has a sister who is {d} years older. How old is the sister in {y} years?",
        "Today the sister is {a} + {d} = {c} years old. Later she will be {c} + {y} = {answer}.",
        "Sekarang umur kakaknya {a} + {d} = {c} tahun. Kelak umurnya akan menjadi {c} + {y} = {answer}.",
    ),
    Kind(
        "joint-share", 2, {"answer": (3, 12), "n": (2, 6), "b": (2, 5)},
        lambda answer, n, b: {"a": answer * n - b, "c": answer * n},
        "{name} picks {a} {things} and a friend picks {b}. They put them in {n} equal bags. How many are in each bag?",
        "Together they have {a} + {b} = {c} {things}. In each bag there are {c} / {n} = {answer}.",
        "Bersama-sama mereka mempunyai {a} + {b} = {c} {benda}. Di setiap kantong ada {c} / {n} = {answer}.",
    ),
    Kind(
        "two-orders", 3, {"a": (2, 8), "b": (2, 9), "n": (2, 8), "m": (2, 9)},
        lambda a, b, n, m: {"c": a * b, "d": n * m, "answer": a * b + n * m},
        "{name} buys {a} cakes for {b} dollars each and {n} books for {m} dollars each. How many dollars is that?",
        "The cakes cost {a} x {b} = {c} and the books cost {n} x {m} = {d}. Both together cost {c} + {d} = {answer}.",
        "Harga kue adalah {a} x {b} = {c} dan harga buku adalah {n} x {m} = {d}. "
        "Jumlah keduanya adalah {c} + {d} = {answer}.",
    ),
    Kind(
        "leftover-bags", 3, {"answer": (3, 9), "n": (2, 5), "d": (2, 9), "b": (3, 15)},
        lambda answer, n, d, b: {"a": answer * n + d, "e": answer * n + d + b, "c": answer * n + b, "f": answer * n},
        "{name} has {a} {things}, gets {b} more, gives {d} away and loses {b}. "
        "The rest goes in {n} equal bags. How many are in each bag?",
        "First there are {a} + {b} = {e}, then {e} - {d} = {c}, then {c} - {b} = {f} {things}. "
        "In each bag there are {f} / {n} = {answer}.",
        "Pada awalnya jumlahnya {a} + {b} = {e}, setelah itu {e} - {d} = {c}, dan akhirnya {c} - {b} = {f} {benda}. "
        "Di setiap kantong ada {f} / {n} = {answer}.",
    ),
    Kind(
        "market-day", 3, {"a": (3, 9), "b": (4, 9), "d": (1, 9), "p": (11, 19)},
        lambda a, b, d, p: {"c": a * b, "e": a * b - d, "answer": (a * b - d) * p},
        "{name} brings {a} baskets of {b} {things}, throws {d} away and sells the rest for {p} dollars each. "
        "How many dollars does {name} earn?",
        "The baskets hold {a} x {b} = {c} and what is sold is {c} - {d} = {e} {things}. "
        "The money earned is {e} x {p} = {answer}.",
        "Isi keranjang adalah {a} x {b} = {c} dan yang dijual adalah {c} - {d} = {e} {benda}. "
        "Uang yang diperoleh adalah {e} x {p} = {answer}.",
    ),
    Kind(
        "factory", 1, {"a": (1120, 9870), "b": (123, 967)},
        lambda a, b: {"answer": a * b},
        "A factory fills {a} boxes with {b} {things} in each box. How many {things} is that?",
        "Each of the {a} boxes holds {b} {things}. In all there are {a} x {b} = {answer}.",
        "Setiap kotak dari {a} kotak berisi {b} {benda}. Jumlah seluruhnya adalah {a} x {b} = {answer}.",
    ),
    Kind(
        "warehouses", 2, {"a": (12, 39), "b": (13, 48), "d": (112, 290)},
        lambda a, b, d: {"c": a * b, "answer": a * b * d},
        "In {a} halls stand {b} shelves each, and on every shelf lie {d} {things}. How many {things} is that?",
        "The halls have {a} x {b} = {c} shelves. The shelves carry {c} x {d} = {answer} {things}.",
        "Semua ruangan mempunyai {a} x {b} = {c} rak. Rak itu memuat {c} x {d} = {answer} {benda}.",
    ),
)  # fmt: skip


def problems(split: str, language: str | None = None) -> tuple[Problem, ...]:
    """The embedded problems of `train` (3,000) or `test` (300), the same on every machine.

    Their solutions are worked out in Indonesian where `language` is `id`, else in English.
    """
    count = {"train": TRAIN_PROBLEMS, "test": TEST_PROBLEMS}[split]
    distinct: dict[str, Problem] = {}
    made = generate(split, seed=0)
    while len(distinct) < count:
        each = next(made)
        solution = each.reasoning["id" if language == "id" else "en"]
        distinct.setdefault(each.problem.id, replace(each.problem, solution=solution))
    return tuple(distinct.values())


def generate(split: str, seed: int) -> Iterator[WordProblem]:
    """Problems of one split without end, the kinds in turn; a problem may be repeated."""
    draw = random.Random(f"{split}-{seed}")
    for kind in cycle(KINDS):
        each = _draw(kind, draw)
        while split_of(each.problem.question) != split:
            each = _draw(kind, draw)
        yield each


def split_of(question: str) -> str:
    """`test` for one question in eight, by hash, else `train`."""
    return "test" if int(_sha(question), 16) % 8 == 0 else "train"


def _draw(kind: Kind, draw: random.Random) -> WordProblem:
    numbers = {key: draw.randint(*bounds) for key, bounds in kind.ranges.items()}
    numbers |= kind.solve(**numbers)
    things = draw.choice(tuple(THINGS))
    words = {"name": draw.choice(NAMES), "things": things, "benda": THINGS[things]} | numbers
    question = kind.question.format(**words)
    problem = Problem(f"{kind.name}-{_sha(question)[:10]}", question, str(numbers["answer"]), kind.name)
    return WordProblem(problem, {"en": kind.english.format(**words), "id": kind.indonesian.format(**words)})


def _sha(question: str) -> str:
    return hashlib.sha256(question.encode()).hexdigest()
