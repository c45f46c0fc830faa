"""The way to the hub, over real sockets: a mirror, proxies, and what is said where there is none."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import address, serving, write_jsonl
from network import Hub, Proxy

from harness.models import checkpoints

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
# No machine has this name: only a proxy can ask it.
BEHIND_THE_PROXY = "http://hub.invalid"
# A port that nothing listens on.
NOBODY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    """No proxy and no cache of the machine that tests."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub's"))


@pytest.fixture
def hub(tmp_path):
    problems = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(3)]
    (tmp_path / "sums").mkdir()
    write_jsonl(tmp_path / "sums/test.jsonl", problems)
    with serving(Hub({"me/tiny": Path(checkpoints.locate("embedded"))}, {"me/sums": tmp_path / "sums"})) as server:
        yield server


EVAL = ("eval", "--recipe", "tiny", "--model", "me/tiny", "--dataset", "me/sums", "--output", "r", "--set",
        "max_tokens=4")  # fmt: skip


def test_a_mirror_gives_model_and_data(harness, hub, tmp_path):
    done = harness(*EVAL, HF_ENDPOINT=address(hub))
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "r/before/completions.jsonl").read_text().splitlines()) == 3


def test_a_proxy_is_the_only_way(harness, hub, tmp_path):
    with serving(Proxy(address(hub))) as proxy:
        done = harness(*EVAL, HF_ENDPOINT=BEHIND_THE_PROXY, ALL_PROXY=address(proxy))
    assert done.returncode == 0, done.stderr
    assert BEHIND_THE_PROXY in proxy.seen
    # Nobody else is asked: not who counts the uses of a dataset.
    assert [host for host in proxy.seen if not host.endswith("hub.invalid")] == []
    assert len((tmp_path / "r/before/completions.jsonl").read_text().splitlines()) == 3


DOWNLOAD = ("eval", "--recipe", "tiny", "--model", "me/tiny")
SOCKS = "a SOCKS proxy needs the module socksio: pip install 'httpx[socks]', or name an HTTP proxy"
NO_ADDRESS = "not an address that can be asked: write it as"
REFUSED = [
    (DOWNLOAD, {"HF_ENDPOINT": f"http://{NOBODY}"},
     f"--model me/tiny: cannot download it from http://{NOBODY} (HF_ENDPOINT) (no connection, or HF_HUB_OFFLINE is set)"
     ": set HF_ENDPOINT to another mirror, or give a downloaded folder"),
    (DOWNLOAD, {"HTTPS_PROXY": f"http://me:password@{NOBODY}"},
     "--model me/tiny: cannot download it from https://huggingface.co through the proxy of HTTPS_PROXY (no connection, "
     "or HF_HUB_OFFLINE is set): set HF_ENDPOINT to a mirror, or give a downloaded folder"),
    (("eval", "--dataset", "gsm8k"), {"HF_ENDPOINT": f"http://{NOBODY}"},
     f"gsm8k: cannot download it from http://{NOBODY} (HF_ENDPOINT) (no connection, or HF_HUB_OFFLINE is set): set "
     "HF_ENDPOINT to another mirror, or point --data at a local copy (file or folder)"),
    (DOWNLOAD, {"ALL_PROXY": f"socks5://me:password@{NOBODY}"}, f"ALL_PROXY: {SOCKS}"),
    (DOWNLOAD, {"all_proxy": f"socks5h://{NOBODY}"}, f"all_proxy: {SOCKS}"),
    (("eval", "--dataset", "me/sums"), {"ALL_PROXY": f"socks5://{NOBODY}"}, f"ALL_PROXY: {SOCKS}"),
    (("eval", "--engine", "openai", "--engine-arg", f"base_url=http://{NOBODY}/v1"),
     {"ALL_PROXY": f"socks5://{NOBODY}"}, f"ALL_PROXY: {SOCKS}"),
    (DOWNLOAD, {"ALL_PROXY": f"socks://{NOBODY}"}, f"ALL_PROXY: {NO_ADDRESS} http://HOST:PORT or socks5://HOST:PORT"),
    (DOWNLOAD, {"HTTP_PROXY": "http://"}, f"HTTP_PROXY: {NO_ADDRESS} http://HOST:PORT or socks5://HOST:PORT"),
    (DOWNLOAD, {"HF_ENDPOINT": "hf-mirror.com"}, f"HF_ENDPOINT: {NO_ADDRESS} https://HOST"),
    (DOWNLOAD, {"HF_ENDPOINT": "https://hf-mirror.com:x"}, f"HF_ENDPOINT: {NO_ADDRESS} https://HOST"),
]  # fmt: skip


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed here: SOCKS proxies work")
@pytest.mark.parametrize(("words", "environment", "said"), REFUSED)
def test_no_way_is_a_line(harness, words, environment, said):
    done = harness(*words, **environment)
    assert (done.returncode, done.stderr) == (2, f"harness: {said}\n")


def test_weights_that_stop_on_the_way_are_a_line_with_the_mirror(harness, hub):
    hub.blocked = "model.safetensors"
    done = harness(*EVAL, HF_ENDPOINT=address(hub))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"harness: me/tiny: cannot be loaded from {address(hub)} (HF_ENDPOINT) (")
    assert last.endswith("): set HF_ENDPOINT to another mirror, or give --model a downloaded folder")


def test_a_proxy_of_any_kind_harms_no_run_without_the_network(harness):
    done = harness("eval", "--limit", "1", "--set", "max_tokens=4", ALL_PROXY=f"socks5://{NOBODY}")
    assert done.returncode == 0, done.stderr


def test_doctor_shows_the_way(harness, hub):
    with serving(Proxy(address(hub))) as proxy:
        behind = harness("doctor", HF_ENDPOINT=BEHIND_THE_PROXY, ALL_PROXY=address(proxy)).stdout
    assert f"ok   hub: {BEHIND_THE_PROXY} (HF_ENDPOINT) through the proxy of ALL_PROXY\n" in behind
    nobody = harness("doctor", HF_ENDPOINT=f"http://{NOBODY}").stdout
    assert f"none hub: no connection to http://{NOBODY} (HF_ENDPOINT): set HF_ENDPOINT to a mirror or" in nobody
