import pytest

from harness.language import label, prose

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


PROSE = [
    ("<think>ada 5 apel</think>", "ada apel"),
    (r"so $x = 5$ and \(y\) and \[z\] \frac{a}", "so and and {a}"),
    ("12 + 30", "+"),
    ("costs $5", "costs $"),
]


@pytest.mark.parametrize(("text", "kept"), PROSE)
def test_prose(text, kept):
    assert prose(text) == kept
