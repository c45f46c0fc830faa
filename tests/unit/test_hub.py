"""Which proxy an address is asked through, by the environment's variables."""

from urllib.parse import urlsplit

import pytest

from harness.errors import UserError
from harness.models import hub

MIRROR = "https://hf-mirror.com"
PROXY = "http://127.0.0.1:7890"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "environment", "variable"),
    [
        (MIRROR, {}, None),
        (MIRROR, {"HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        (MIRROR, {"https_proxy": PROXY}, "https_proxy"),
        (MIRROR, {"ALL_PROXY": PROXY}, "ALL_PROXY"),
        (MIRROR, {"all_proxy": PROXY, "ALL_PROXY": "http://other:1"}, "all_proxy"),
        (MIRROR, {"HTTPS_PROXY": PROXY, "ALL_PROXY": "http://other:1"}, "HTTPS_PROXY"),
        (MIRROR, {"HTTP_PROXY": PROXY}, None),
        ("http://mirror.lan", {"HTTP_PROXY": PROXY}, "HTTP_PROXY"),
        ("http://mirror.lan", {"http_proxy": PROXY}, "http_proxy"),
        ("http://mirror.lan", {"HTTPS_PROXY": PROXY}, None),
        ("http://mirror.lan", {"ALL_PROXY": "127.0.0.1:7890"}, "ALL_PROXY"),
        ("http://mirror.lan", {"ALL_PROXY": PROXY, "NO_PROXY": "localhost,.lan"}, None),
        (MIRROR, {"ALL_PROXY": PROXY, "no_proxy": "*"}, None),
    ],
)
def test_the_proxy_in_force(url, environment, variable, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = hub.proxy_of(urlsplit(url))
    assert (found and (found[0], found[1].hostname, found[1].port)) == (variable and (variable, "127.0.0.1", 7890))


def test_a_socks_proxy_for_anything_is_refused(monkeypatch):
    """The library builds its way through every proxy first, whatever it asks for."""
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", "hf-mirror.com")
    with pytest.raises(
        UserError, match=r"^HTTP_PROXY: a SOCKS proxy needs the module no_such_module: pip install 'x\[y\]'"
    ):
        hub.refuse_unusable_proxies("no_such_module", "x[y]")
    hub.refuse_unusable_proxies("json", "x[y]")
    monkeypatch.setenv("NO_PROXY", "*")
    hub.refuse_unusable_proxies("no_such_module", "x[y]")
