"""The language of a text, by langid, and what is cut from it before."""

import re
from functools import cache

from harness.parsing.formulas import formulas

UNDETERMINED = "und"
READ_CHARACTERS = 4000
NO_TARGET = "none"
FEATURE_BYTES = 4

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
LANGUAGES_IN_CHINESE = {
    "af": "南非荷兰语", "am": "阿姆哈拉语", "an": "阿拉贡语", "ar": "阿拉伯语", "as": "阿萨姆语", "az": "阿塞拜疆语",
    "be": "白俄罗斯语", "bg": "保加利亚语", "bn": "孟加拉语", "br": "布列塔尼语", "bs": "波斯尼亚语",
    "ca": "加泰罗尼亚语", "cs": "捷克语", "cy": "威尔士语", "da": "丹麦语", "de": "德语", "dz": "宗喀语",
    "el": "希腊语", "en": "英语", "eo": "世界语", "es": "西班牙语", "et": "爱沙尼亚语", "eu": "巴斯克语",
    "fa": "波斯语", "fi": "芬兰语", "fo": "法罗语", "fr": "法语", "ga": "爱尔兰语", "gl": "加利西亚语",
    "gu": "古吉拉特语", "he": "希伯来语", "hi": "印地语", "hr": "克罗地亚语", "ht": "海地克里奥尔语",
    "hu": "匈牙利语", "hy": "亚美尼亚语", "id": "印度尼西亚语", "is": "冰岛语", "it": "意大利语", "ja": "日语",
    "jv": "爪哇语", "ka": "格鲁吉亚语", "kk": "哈萨克语", "km": "高棉语", "kn": "卡纳达语", "ko": "韩语",
    "ku": "库尔德语", "ky": "吉尔吉斯语", "la": "拉丁语", "lb": "卢森堡语", "lo": "老挝语", "lt": "立陶宛语",
    "lv": "拉脱维亚语", "mg": "马达加斯加语", "mk": "马其顿语", "ml": "马拉雅拉姆语", "mn": "蒙古语",
    "mr": "马拉地语", "ms": "马来语", "mt": "马耳他语", "nb": "书面挪威语", "ne": "尼泊尔语", "nl": "荷兰语",
    "nn": "新挪威语", "no": "挪威语", "oc": "奥克语", "or": "奥里亚语", "pa": "旁遮普语", "pl": "波兰语",
    "ps": "普什图语", "pt": "葡萄牙语", "qu": "克丘亚语", "ro": "罗马尼亚语", "ru": "俄语", "rw": "卢旺达语",
    "se": "北萨米语", "si": "僧伽罗语", "sk": "斯洛伐克语", "sl": "斯洛文尼亚语", "sq": "阿尔巴尼亚语",
    "sr": "塞尔维亚语", "sv": "瑞典语", "sw": "斯瓦希里语", "ta": "泰米尔语", "te": "泰卢固语", "th": "泰语",
    "tl": "他加禄语", "tr": "土耳其语", "ug": "维吾尔语", "uk": "乌克兰语", "ur": "乌尔都语", "vi": "越南语",
    "vo": "沃拉普克语", "wa": "瓦隆语", "xh": "科萨语", "zh": "中文", "zu": "祖鲁语",
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


def name_in_chinese(code: str) -> str:
    """The Chinese name of an ISO 639-1 code."""
    return LANGUAGES_IN_CHINESE[code]


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
    features = feature_counts(text.encode("utf-8", "surrogatepass"))
    present = (features > 0).nonzero()[0]
    likelihood = features[present] @ identifier.nb_ptc[present]
    return str(identifier.nb_classes[(likelihood + identifier.nb_pc).argmax()])


def feature_counts(text: bytes):
    """An array of how often each feature of langid occurs, as its `instance2fv` counts, but much faster in a long text.

    A feature is a sequence of at most 4 bytes, so the state of langid's automaton behind a byte follows from the last
    4, and the states behind all bytes are looked up at once.
    """
    import numpy as np

    moves, found_in, found = _automaton()
    read = np.frombuffer(text, np.uint8)
    states = np.zeros(len(read), np.uint32)
    for back in reversed(range(min(FEATURE_BYTES, len(read)))):
        states[back:] = moves[states[back:], read[: len(read) - back]]
    times = np.bincount(states, minlength=len(moves))
    return np.bincount(found, weights=times[found_in], minlength=_identifier().nb_numfeats)


def prepare() -> None:
    """Load langid's model, for which the first label would wait a second or two."""
    _automaton()


@cache
def _automaton():
    """The state behind each state and byte; and the pairs of a state and a feature that it completes: three arrays."""
    import numpy as np

    identifier = _identifier()
    found = identifier.tk_output
    return (
        np.frombuffer(identifier.tk_nextmove, np.uint16).reshape(-1, 256),
        np.repeat(list(found), [len(features) for features in found.values()]),
        np.concatenate([np.array(features, int) for features in found.values()]),
    )


@cache
def _identifier():
    from langid.langid import LanguageIdentifier, model

    return LanguageIdentifier.from_modelstring(model)
