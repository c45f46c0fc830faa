import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.parsing.language import (
    GROUPS_BY_POINTS,
    LANGUAGES,
    LANGUAGES_IN_CHINESE,
    _identifier,
    feature_counts,
    groups_by_points,
    label,
    prose,
)

LABELS = [
    ("At first there are 5 apples and then 7 more arrive.", "en"),
    ("Pada awalnya ada 5 apel, kemudian datang lagi 7. Jadi jumlah semuanya adalah 12.", "id"),
    ("小明有五个苹果，他又买了七个苹果。", "zh"),
    ("", "und"),
    ("5 + 7 = 12", "und"),
]


@pytest.mark.parametrize(("text", "language"), LABELS)
def test_label(text, language):
    assert label(text) == language


def test_label_is_langids_own():
    from langid.langid import LanguageIdentifier, model

    identifier = LanguageIdentifier.from_modelstring(model)
    texts = [text for text, language in LABELS if language != "und"] + ["x", "Ini adalah mudah", "Das ist ein Haus"]
    assert [label(text) for text in texts] == [identifier.classify(text)[0] for text in texts]


@given(st.one_of(st.binary(max_size=40), st.text(max_size=200).map(lambda text: (text * 5).encode("utf-8", "ignore"))))
@example(b"")
@example(b"a")
@example(b"ab")
@example(b"abc")
@example(b"the theatre of the others, " * 40)
@settings(deadline=None)
def test_features_are_counted_as_langid_counts_them(text):
    assert feature_counts(text).tolist() == _identifier().instance2fv(text).tolist()


PROSE = [
    ("<think>ada 5 apel</think>", "ada apel"),
    (r"so $x = 5$ and \(y\) and \[z\] \frac{a}", "so and and {a}"),
    ("12 + 30", "+"),
    ("costs $5", "costs $"),
    ("ini\n\\[\n\\text{the total} = 5\n\\]\nitu", "ini itu"),
    ("ini\n$$\n\\text{the total} = 5\n$$\nitu", "ini itu"),
    ("ini \\begin{align*}\na &= \\text{the total} \\\\\nb &= 5\n\\end{align*} itu", "ini itu"),
    ("ini \\begin{equation}x = the\\end{equation} itu", "ini itu"),
    ("ini $x = 5$ dan \\(y\\) itu", "ini dan itu"),
    ("Ani: $5 untuk buku dan $2", "Ani: $ untuk buku dan $"),
    ("dari $5 sampai $7 atau $x$ itu", "dari $ sampai $ atau itu"),
    ("antara $5-$10 saja", "antara $ -$ saja"),
    ("jika n < banyak apel itu maka m > tiga", "jika n < banyak apel itu maka m > tiga"),
    ("jika a<b dan c>d", "jika a<b dan c>d"),
    ("<b>tebal</b><br/> dan <|im_end|>", "tebal dan"),
    ("\\frac{1}{2} ab \\sin C \\text{the area} itu", "{ }{ } ab C itu"),
    ("ini \\[ \\text{the formula was not closed", "ini"),
    ("ini \\[ the x\n\nitu", "ini itu"),
]


@pytest.mark.parametrize(("text", "kept"), PROSE)
def test_prose(text, kept):
    assert prose(text) == kept


POINTS = [
    ("Ani membeli lima buku dan setiap buku harganya sama mahal", True),
    ("Anna kauft fünf Bücher und jedes davon kostet gleich viel", True),
    ("Anna buys five books and each of them costs the same", False),
    ("Ani membeli", False),
    ("5 + 7", False),
]


@pytest.mark.parametrize(("text", "by_points"), POINTS)
def test_the_languages_that_group_digits_by_points(text, by_points):
    assert groups_by_points(text) is by_points


def test_every_language_that_langid_tells_apart_has_a_name():
    assert LANGUAGES.keys() == set(map(str, _identifier().nb_classes))
    for names in (LANGUAGES, LANGUAGES_IN_CHINESE):
        assert names.keys() == LANGUAGES.keys()
        assert len({*names.values()}) == len(names)
    assert LANGUAGES.keys() > GROUPS_BY_POINTS
