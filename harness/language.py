"""The language of a text, by langid, and what has to be cut before the question makes sense."""

import re
from functools import cache

UNDETERMINED = "und"
READ_CHARACTERS = 4000
NO_TARGET = "none"

LANGUAGES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "jv": "Javanese", "ko": "Korean", "ms": "Malay",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sw": "Swahili", "th": "Thai",
    "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip

# What langid labels some texts of a language as.
CONFUSED_WITH = {"id": ("ms", "jv")}
LANGUAGE_CODES = {name.casefold(): code for code, name in LANGUAGES.items()}

_NOT_PROSE = re.compile(
    r"<[^<>\n]{1,60}>"
    r"|\$[^$\n]{1,400}\$"
    r"|\\\([^\n]{0,400}?\\\)|\\\[[^\n]{0,400}?\\\]"
    r"|\\[A-Za-z]{1,40}"
    r"|[0-9]+"
)


def language_name(code: str) -> str:
    """The English name of an ISO 639-1 code."""
    return LANGUAGES[code]


def prose(text: str) -> str:
    """The first 4,000 characters of `text` without tags, LaTeX and digits: what is in a language at all."""
    return " ".join(_NOT_PROSE.sub(" ", text[:READ_CHARACTERS]).split())


def label(text: str) -> str:
    """langid's ISO 639-1 label among its 97 languages; `und` for a text without letters."""
    return raw_label(text) if any(character.isalpha() for character in text) else UNDETERMINED


def raw_label(text: str) -> str:
    """langid's label as the tutorials take it: for any text but the empty one, `42` too (which it calls English)."""
    if not text:
        return UNDETERMINED
    # The score is langid's own, log-likelihood plus prior; only the features that occur are multiplied,
    # which is faster than its dense product and leaves the machine's other threads alone.
    identifier = _identifier()
    features = identifier.instance2fv(text.encode("utf-8", "surrogatepass"))
    present = features.nonzero()[0]
    likelihood = features[present] @ identifier.nb_ptc[present]
    return str(identifier.nb_classes[(likelihood + identifier.nb_pc).argmax()])


@cache
def _identifier():
    from langid.langid import LanguageIdentifier, model

    return LanguageIdentifier.from_modelstring(model)
