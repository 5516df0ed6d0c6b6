"""Read the items of STAC catalogs, collections and saved searches.

A catalog is text that anybody can write: it may name any file of this machine, or a server. So what
it names is read only where a VRT in its place could read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from geoseg.errors import Faults, InputError, shown
from geoseg.geo import vrt
from geoseg.outputs.files import parse_json
from geoseg.received import offline
from geoseg.received.fields import plain_name

SUFFIXES = (".json", ".geojson")
LARGEST = 256 * 2**20
"""Bytes of a file: a saved search of 10 000 items has 100 MB."""
MOST = 200_000
"""Files of a catalog, and items of them."""
VERSIONS = ("1.0", "1.1")
_BELOW = ("child", "item")
"""Relations of links that lead down."""


@dataclass(frozen=True)
class Item:
    """What a catalog says of one acquisition."""

    id: str
    source: str
    """File that holds it."""
    root: str
    """Folder of the catalog that was given."""
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]
    """By key, with what the collection says of all assets of this key."""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}, item {self.id}"

    def path_of(self, href: str) -> str:
        """The file that an asset names. Raises: InputError if it may not be read."""
        if href.startswith(("https://", "http://")):
            return self._address(href)
        return allowed_path(href, self.source, self.root)

    def _address(self, href: str) -> str:
        """Raises: InputError if it is not one that may be asked."""
        where = urlsplit(href)
        if not offline.may_ask(href):
            raise InputError(
                f"{self.name}: names {shown(href)}; no server is asked unless you name it: set the"
                f" environment variable {offline.SERVERS}={where.scheme}://{where.netloc}/, or"
                " fetch the files"
            )
        return href

    def when(self) -> datetime:
        """Of the acquisition, in UTC; of a period its start. Raises: InputError."""
        found = self._time("datetime") or self._time("start_datetime")
        if found is None:
            raise InputError(
                f"{self.name}: says no datetime, nor a start_datetime, and of a cube there is no"
                " time coordinate; a series needs dates"
            )
        return found

    def period(self) -> tuple[datetime, datetime] | None:
        """From when to when, in UTC; None if it says no time, or one that is none."""
        try:
            start = self.when()
            end = None if self._time("datetime") else self._time("end_datetime")
        except InputError:
            return None
        return (start, end) if end is not None and end >= start else (start, start)

    def _time(self, key: str) -> datetime | None:
        text = self.properties.get(key)
        if text is None:
            return None
        try:
            found = datetime.fromisoformat(str(text))
        except ValueError:
            raise InputError(
                f"{self.name}: {key} {shown(text)} is no time; expected YYYY-MM-DDTHH:MM:SSZ"
            ) from None
        return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)


def is_catalog(path: Any) -> bool:
    """Whether a path that somebody gave names a JSON file, and so a catalog."""
    text = os.path.expanduser(str(path))
    return text.lower().endswith(SUFFIXES) and os.path.isfile(text)


def read_items(paths: Iterable[str]) -> list[Item]:
    """All items at and below catalogs, collections, items and saved searches, each once.

    Raises: InputError with all that can't be read or may not be.
    """
    faults, found = Faults(), []
    for path in paths:
        with faults.collect():
            mine = list(_Walk(path).items())
            if not mine:
                raise InputError(f"{path}: a catalog without items")
            found += mine
    faults.raise_if_any()
    return found


def allowed_path(href: str, source: str, root: str) -> str:
    """The file of this machine that an address means. Raises: InputError if it may not be read.

    source: the file that names it. root: folder of the catalog that was given.
    """
    parts = urlsplit(href)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = url2pathname(parts.path)
    elif "://" in href or href.startswith(("/vsi", "\\\\", "//")) or "\0" in href:
        raise InputError(
            f"{source}: names {shown(href)}, and of a catalog only files of this machine are read;"
            " fetch them, and let the catalog name them by relative paths"
        )
    else:
        path = href
    folder = os.path.dirname(os.path.abspath(source))
    # An address may have %20 for a blank, and a file may be called so.
    spelt = [os.path.normpath(os.path.join(folder, one)) for one in (path, unquote(path))]
    found = next((one for one in spelt if os.path.exists(one)), spelt[0])
    if not vrt.allows(found, root):
        raise InputError(
            f"{source}: names {found}, which lies outside the catalog's folder; if you trust this"
            f" catalog, set the environment variable {vrt.FOLDERS}={os.path.dirname(found)}, else"
            " leave it out"
        )
    return found


@dataclass
class _Walk:
    """Goes through a catalog once."""

    start: str
    root: str = field(init=False)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.root = os.path.dirname(os.path.abspath(self.start))

    def items(self) -> Iterator[Item]:
        waiting: list[tuple[str, Mapping[str, Any]]] = [(self.start, {})]
        while waiting:
            path, common = waiting.pop()
            key = os.path.realpath(path)
            if key in self.seen:
                continue
            self.seen.add(key)
            if len(self.seen) > MOST:
                raise InputError(f"{self.start}: a catalog of more than {MOST} files")
            values = _read(path)
            kind = values.get("type")
            if kind in ("Feature", "FeatureCollection"):
                yield from self._features(path, values, common)
                continue
            if kind not in ("Catalog", "Collection"):
                raise InputError(
                    f"{path}: type {shown(kind)}; expected STAC: a Catalog, a Collection, an item"
                    " (Feature) or a search (FeatureCollection of items)"
                )
            _check_version(values, path)
            common = _entries(values.get("item_assets")) or common
            hrefs = [link.get("href") for link in _links(values) if link.get("rel") in _BELOW]
            below = [allowed_path(_text(href, path), path, self.root) for href in hrefs]
            # The last one that is put there comes first.
            waiting += [(where, common) for where in reversed(below)]

    def _features(
        self, path: str, values: dict[str, Any], common: Mapping[str, Any]
    ) -> Iterator[Item]:
        features = [values] if values["type"] == "Feature" else values.get("features")
        if not isinstance(features, list) or len(features) > MOST:
            raise InputError(f"{path}: features: {shown(features)}, expected a list of items")
        for feature in features:
            if not isinstance(feature, dict) or "assets" not in feature:
                raise InputError(
                    f"{path}: holds a feature without assets, so it is no STAC; expected a catalog,"
                    " a collection, an item or a search of items"
                )
            _check_version(feature, path)
            said = common or self._collection(feature, path)
            own = _entries(feature.get("assets"))
            assets = {key: {**_entry(said.get(key)), **asset} for key, asset in own.items()}
            name = plain_name(feature.get("id"), f"{path}, id of an item")
            properties = _entry(feature.get("properties"))
            yield Item(name, path, self.root, properties, assets)

    def _collection(self, feature: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """What an item's collection says of its assets, if that lies where it may be read."""
        for link in _links(feature):
            href = link.get("href")
            if link.get("rel") == "collection" and isinstance(href, str):
                try:
                    where = allowed_path(href, path, self.root)
                except InputError:  # an item is whole without: most name a server here
                    return {}
                if os.path.isfile(where):
                    return _entries(_read(where).get("item_assets"))
        return {}


def _read(path: str) -> dict[str, Any]:
    """Raises: InputError if it isn't an object of JSON."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError(f"larger than {LARGEST >> 20} MB")
        values = parse_json(Path(path).read_bytes())
        if not isinstance(values, dict):
            raise ValueError(f"expected an object {{…}}, got a {type(values).__name__}")
    except FileNotFoundError:
        raise InputError(f"{path}: a catalog names it, and there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as JSON ({error})") from None
    return values


def _check_version(values: Mapping[str, Any], path: str) -> None:
    version = str(values.get("stac_version"))
    if version.rpartition(".")[0] not in VERSIONS and not version.startswith("1.1."):
        raise InputError(
            f"{path}: stac_version {shown(values.get('stac_version'))}; expected"
            f" {' or '.join(VERSIONS)}: pystac brings older ones up to date"
        )


def _links(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = values.get("links")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _entries(values: Any) -> dict[str, dict[str, Any]]:
    """Named entries; what is none is left out."""
    return {key: one for key, one in _entry(values).items() if isinstance(one, dict)}


def _entry(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{path}: a link leads to {shown(value)}, expected an address")
    return value
