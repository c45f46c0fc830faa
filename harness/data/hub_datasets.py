"""Datasets of the hub by their ids: their configs, splits and rows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.errors import UserError
from harness.models import hub

DEFAULT = "default"
_ID = re.compile(r"(?P<address>[A-Za-z0-9][\w.-]*/[\w.-]+?)(?::(?P<config>[\w.+-]+))?")


@dataclass(frozen=True)
class Address:
    """A dataset of the hub: owner/name, its config where it has several, and our name for it where it has one."""

    address: str
    config: str | None
    name: str | None = None

    def __str__(self) -> str:
        return self.name or (f"{self.address}:{self.config}" if self.config else self.address)


def parse(dataset: str) -> Address | None:
    """The address in `owner/name` or `owner/name:config`; None if the text is no such id."""
    match = _ID.fullmatch(dataset)
    return Address(match["address"], match["config"]) if match else None


def whole(place: Address) -> Address:
    """The address with its config: the one named, the only one, or `default`.

    Raises UserError if there are several and none is named.
    """
    if place.config:
        return place
    import datasets

    with _reached(place):
        configs = datasets.get_dataset_config_names(place.address)
    if len(configs) > 1 and DEFAULT not in configs:
        raise UserError(f"{place}: has the configs {', '.join(configs)}: name one, as in {place.address}:{configs[0]}")
    return Address(place.address, configs[0] if len(configs) == 1 else DEFAULT)


def splits(place: Address) -> list[str]:
    """The splits of an address that has its config."""
    import datasets

    with _reached(place):
        return list(datasets.get_dataset_split_names(place.address, place.config))


def rows(place: Address, split: str) -> list[dict]:
    """The rows of a split of an address that has its config."""
    import datasets

    with _reached(place):
        return list(datasets.load_dataset(place.address, place.config, split=split))


@contextmanager
def _reached(place: Address) -> Iterator[None]:
    """Raise UserError if the hub cannot be reached, or has no such dataset."""
    hub.prepare()
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    datasets.disable_progress_bars()
    try:
        yield
    except DatasetNotFoundError as error:
        raise UserError(
            f"{place}: not on the hub, or you have no access: check its name, or set HF_TOKEN to your token"
        ) from error
    except (OSError, DatasetsError, ValueError, RuntimeError) as error:
        # A ValueError is how the library says that an offline machine has no cached copy; a RuntimeError, that a
        # dataset is Python code, which it no longer runs.
        here = "point --data at a local copy (file or folder)" if place.name else "give a downloaded folder"
        raise hub.no_download(str(place), error, here) from error
