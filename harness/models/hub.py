"""How the hub is reached: its own address or a mirror's, and the proxies of the environment."""

import os
import socket
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from harness.errors import UserError, cause

CONNECT_SECONDS = 5
MIRROR = "HF_ENDPOINT"
PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def prepare() -> None:
    """Let the hub's library ask only its cache if the hub cannot be reached, which saves a minute of retries.

    Raises UserError if a proxy or the mirror of the environment cannot be used.
    """
    refuse_unusable_proxies()
    if "HF_HUB_OFFLINE" in os.environ or answers():
        return
    from huggingface_hub import constants

    os.environ["HF_HUB_OFFLINE"] = "1"
    constants.HF_HUB_OFFLINE = True


def answers() -> bool:
    """Whether the hub, or the proxy in front of it, takes a connection. Raises UserError if its address is wrong."""
    hub = _endpoint()
    variable, first = proxy_of(hub) or (MIRROR, hub)
    _refuse_wrong(variable, first)
    try:
        socket.create_connection((first.hostname, first.port or PORTS[first.scheme]), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def where() -> str:
    """The hub's address and the way there, without what a proxy's address may hold of a password."""
    hub = _endpoint()
    mirror = f" ({MIRROR})" if os.environ.get(MIRROR) else ""
    port = f":{hub.port}" if hub.port else ""
    proxy = proxy_of(hub)
    return f"{hub.scheme}://{hub.hostname}{port}{mirror}{f' through the proxy of {proxy[0]}' if proxy else ''}"


def no_download(what: str, error: object, otherwise: str) -> UserError:
    """The error for a download that failed: from where, by which way, why, and what to do."""
    from huggingface_hub import constants

    why = "no connection, or HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else cause(error, 120)
    return UserError(f"{what}: cannot download it from {where()} ({why}): {fix(otherwise)}")


def fix(otherwise: str) -> str:
    """What to do about a failed download."""
    return f"set {MIRROR} to {'another' if os.environ.get(MIRROR) else 'a'} mirror, or {otherwise}"


def proxy_of(url: SplitResult) -> tuple[str, SplitResult] | None:
    """The proxy that an address is asked through: the variable that names it, and its own address; None without."""
    proxies = getproxies()
    scheme = next((scheme for scheme in (url.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None or proxy_bypass(url.hostname or ""):
        return None
    return _variable(scheme), _split(proxies[scheme])


def refuse_unusable_proxies(module: str = "socksio", package: str = "httpx[socks]") -> None:
    """Raise UserError if the environment names a proxy that a library cannot use; it would, whatever it asks for.

    `module`: what the library speaks SOCKS with; `package`: what brings it.
    """
    proxies = getproxies()
    if "*" in proxies.get("no", "").split(","):
        return
    for scheme in ("http", "https", "all"):
        if not proxies.get(scheme):
            continue
        variable, proxy = _variable(scheme), _split(proxies[scheme])
        _refuse_wrong(variable, proxy)
        if proxy.scheme.startswith("socks") and find_spec(module) is None:
            raise UserError(
                f"{variable}: a SOCKS proxy needs the module {module}: pip install '{package}', or name an HTTP proxy"
            )


def _endpoint() -> SplitResult:
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    _refuse_wrong(MIRROR, hub)
    return hub


def _refuse_wrong(variable: str, address: SplitResult) -> None:
    schemes = ("http", "https") if variable == MIRROR else tuple(PORTS)
    try:
        is_right = address.scheme in schemes and bool(address.hostname) and address.port != 0
    except ValueError:  # no number, or one too large
        is_right = False
    if not is_right:
        example = "https://HOST" if variable == MIRROR else "http://HOST:PORT or socks5://HOST:PORT"
        raise UserError(f"{variable}: not an address that can be asked: write it as {example}")


def _split(proxy: str) -> SplitResult:
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _variable(scheme: str) -> str:
    """The variable of a scheme's proxy: the small letters win, as everywhere."""
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY")
    return next((name for name in names if os.environ.get(name)), "the system's settings")
