"""Images named by a STAC item (stacspec.org): a JSON file or URL, and which asset of it."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from sat2map.errors import SceneError
from sat2map.scenes.handles import is_remote

USUAL = ("visual", "image")
"""Assets that are taken where none is named, in this order."""

LARGEST = 16 << 20
"""Bytes of the largest item that is read; items have some kilobytes."""

_SERVED = re.compile(r"/items/[^/.]+/?$")
"""The end of an item's URL at a STAC API."""


def is_item(name: str) -> bool:
    """Tell whether a name is that of a STAC item, with or without `#asset`."""
    base = name.partition("#")[0]
    path = urlsplit(base).path if is_remote(base) else base
    return path.lower().endswith((".json", ".geojson")) or (is_remote(base) and _SERVED.search(path) is not None)


def asset_of(name: str) -> str:
    """Return the file or URL of an item's image.

    Args:
        name: `item.json`, or `item.json#asset`.

    Raises:
        SceneError: It is no item, or it is not known which asset is meant.
    """
    path, _, wanted = name.partition("#")
    assets = _assets(path)
    href = assets[_choose(path, assets, wanted)]["href"]
    if is_remote(href):
        return href
    return urljoin(path, href) if is_remote(path) else str(Path(path).parent / href)


def _assets(path: str) -> Mapping[str, Mapping[str, Any]]:
    try:
        item = json.loads(_text(path))
        assets: Mapping[str, Mapping[str, Any]] = item["assets"]
        if assets and all(isinstance(a["href"], str) for a in assets.values()):
            return assets
    except (OSError, HTTPException) as error:
        raise SceneError(f"{path} cannot be read: {error}. Check the name, or copy the item here.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise SceneError(f"{path} is no STAC item with assets. Name an item, or an image file.")


def _text(path: str) -> bytes:
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read(LARGEST)
    if urlsplit(path).scheme not in ("http", "https"):
        raise OSError("items are read by http, https and from disk")
    with urllib.request.urlopen(path, timeout=30) as reply:
        text: bytes = reply.read(LARGEST)
    return text


def _choose(path: str, assets: Mapping[str, Mapping[str, Any]], wanted: str) -> str:
    if wanted:
        if wanted in assets:
            return wanted
        raise SceneError(f"{path} has no asset {wanted!r}. It has: {', '.join(assets)}.")
    data = [name for name, asset in assets.items() if "data" in (asset.get("roles") or ())]
    for names in (list(assets), [name for name in USUAL if name in assets][:1], data):
        if len(names) == 1:
            return names[0]
    named = data or list(assets)
    raise SceneError(
        f"{path} has several assets ({', '.join(named)}), so it is not known which is the image. "
        f"Choose one, for example '{path}#{named[0]}'."
    )
