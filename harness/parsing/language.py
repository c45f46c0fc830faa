"""The language of a text, by langid, and what is cut from it before."""

import re
from functools import cache

from harness.parsing.formulas import formulas

UNDETERMINED = "und"
READ_CHARACTERS = 4000
NO_TARGET = "none"

# What langid tells apart.
LANGUAGES = {
    "af": "Afrikaans", "am": "Amharic", "an": "Aragonese", "ar": "Arabic", "as": "Assamese", "az": "Azerbaijani",
    "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali", "br": "Breton", "bs": "Bosnian", "ca": "Catalan",
    "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German", "dz": "Dzongkha", "el": "Greek", "en": "English",
    "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fo": "Faroese", "fr": "French", "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "ht": "Haitian Creole", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "jv": "Javanese", "ka": "Georgian", "kk": "Kazakh",
    "km": "Khmer", "kn": "Kannada", "ko": "Korean", "ku": "Kurdish", "ky": "Kyrgyz", "la": "Latin",
    "lb": "Luxembourgish", "lo": "Lao", "lt": "Lithuanian", "lv": "Latvian", "mg": "Malagasy", "mk": "Macedonian",
    "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "mt": "Maltese", "nb": "Norwegian Bokmål",
    "ne": "Nepali", "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian", "oc": "Occitan", "or": "Odia",
    "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "qu": "Quechua", "ro": "Romanian",
    "ru": "Russian", "rw": "Kinyarwanda", "se": "Northern Sami", "si": "Sinhala", "sk": "Slovak", "sl": "Slovenian",
    "sq": "Albanian", "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai",
    "tl": "Tagalog", "tr": "Turkish", "ug": "Uyghur", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
    "vo": "Volapük", "wa": "Walloon", "xh": "Xhosa", "zh": "Chinese", "zu": "Zulu",
}  # fmt: skip

# What langid labels some texts of a language as.
CONFUSED_WITH = {"id": ("ms", "jv")}
LANGUAGE_CODES = {name.casefold(): code for code, name in LANGUAGES.items()}

# Languages that group digits by points; Malay and Javanese are what langid takes much Indonesian for.
GROUPS_BY_POINTS = {
    "az", "bs", "ca", "da", "de", "el", "es", "eu", "gl", "hr", "id", "is", "it", "jv", "ms", "nl", "pt", "ro", "sl",
    "sr", "tr", "vi",
}  # fmt: skip
FEWEST_WORDS = 5

_NOT_PROSE = re.compile(
    r"</?[A-Za-z][\w:-]{0,40}\s?/?>|<[|｜][^<>\s|｜]{1,40}[|｜]>"
    r"|\\(?:text|mathrm|mathbf|textbf|operatorname)\s?\{[^{}]{0,400}\}"
    r"|\\[A-Za-z]{1,40}"
    r"|[0-9]+"
)
# A display formula that was not closed, as where the text was cut, goes on to the paragraph's end.
_OPEN_DISPLAY = re.compile(r"(?:\\\[|\$\$|\\begin\{[a-z]{1,20}\*?\}).*?(?=\n[ \t]*\n|\Z)", re.DOTALL)


def language_name(code: str) -> str:
    """The English name of an ISO 639-1 code."""
    return LANGUAGES[code]


def prose(text: str) -> str:
    """The first 4,000 characters of `text` without tags, LaTeX and digits: what is in a language at all."""
    text = text[:READ_CHARACTERS]
    parts, place = [], 0
    for formula in formulas(text):
        parts.append(text[place : formula.start])
        place = formula.end
    parts.append(text[place:])
    return " ".join(_NOT_PROSE.sub(" ", _OPEN_DISPLAY.sub(" ", " ".join(parts))).split())


def groups_by_points(text: str) -> bool:
    """Whether a text is in a language that writes 18.000 for eighteen thousand; no few words tell."""
    words = prose(text)
    return words.count(" ") >= FEWEST_WORDS - 1 and label(words) in GROUPS_BY_POINTS


def label(text: str) -> str:
    """langid's ISO 639-1 label among its 97 languages; `und` for a text without letters."""
    return raw_label(text) if any(character.isalpha() for character in text) else UNDETERMINED


def raw_label(text: str) -> str:
    """langid's label as the tutorials use it: of any text but the empty one, `42` too (which it labels English)."""
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
