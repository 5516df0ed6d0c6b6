"""Claim the folder of a run and record its settings."""

from __future__ import annotations

import importlib.util
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from geoseg.dataset.scene_classes import SceneClasses
from geoseg.errors import InputError
from geoseg.models import origin
from geoseg.models.card import BEST, ENCODER, LAST, whole_weights
from geoseg.models.settings import FOREST, OWN, Model, without_unset
from geoseg.outputs.claims import claim, differences, is_claimed, read_claim, rewrite_claim
from geoseg.outputs.files import clearing, make_folder, remove, replacing
from geoseg.outputs.lock import held
from geoseg.received import keys
from geoseg.samples.settings import without_choice
from geoseg.training.objectives.settings import RECONSTRUCT
from geoseg.training.processes import launch
from geoseg.training.run import folder as command
from geoseg.training.settings import ADVERSARIAL, ANYWHERE, CLICKS, EPOCHS, LENGTHS, REMEMBER, Fit

LOGS = ("tensorboard", "mlruns", "wandb", ".loggers.json")
"""What loggers leave in a run folder, and the note which epochs they were told."""
LOGGER_PACKAGES = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
"""What those loggers need that do not come with geoseg; MLflow the latter two for its database."""


OWNABLE = {"model", "loss", "augment"}
"""Rooms of settings that may name other code."""


def check_logger(fit: Fit, *, tried: bool = False) -> None:
    """Raises: InputError if a package is missing for the logger, which the first process has.

    tried: nothing is trained, and so nothing logged.
    """
    if tried or not launch.first(fit.nodes):
        return
    for package in LOGGER_PACKAGES.get(fit.logger, ()):
        found = importlib.util.find_spec(package)
        # The folder `wandb` of an earlier run beside the user passes for a package without origin.
        if found is None or found.origin is None:
            needs = "" if package == fit.logger else f"needs {package}, which is "
            raise InputError(
                f"fit.logger={fit.logger}: {needs}not installed; pip install geoseg[{fit.logger}]"
            )


def network_of(config: Any, name: str) -> Model | None:
    """The network of the run that lies in config.run and is not replaced; None if there is none.

    name: of the command.
    """
    said = None if config.overwrite else read_claim(config.run, command=name)
    model = (said or {}).get("model")
    if not isinstance(model, dict) or not {"name", "encoder", "weights"} <= model.keys():
        return None
    if model["name"] == OWN:  # which has no encoder of geoseg's
        return None
    return Model(model["name"], model["encoder"], model["weights"])


def check_start(
    config: Any, name: str, *, but: tuple[str, ...] = (), files: Sequence[str] = ()
) -> None:
    """Raises: InputError for weights to start from that are not there, or another network's.

    A training that goes on is past its start. The arguments are those of `opened`.
    """
    run, settings = Path(config.run), _claimed(config, but, files)
    same = is_claimed(run, settings, command=name) or _longer(run, settings, name)
    if not (origin.goes_on(run) and same):
        origin.check(config.model, run)


def _claimed(config: Any, but: tuple[str, ...], files: Sequence[str]) -> dict[str, Any]:
    """The settings that make a run what it is."""
    unsaid = ("run", "overwrite", *but)
    settings = {k: v for k, v in asdict(config).items() if k not in unsaid}
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    for keys_of in (ADVERSARIAL, REMEMBER, CLICKS):  # runs of before knew nothing of them
        if not settings["fit"].get(keys_of[0]):
            settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in keys_of}
    if settings.get("model", {}).get("name") != FOREST:  # which is grown again unless that is false
        settings["fit"] |= {"refit": bool(settings["fit"].get("refit"))}
    if "augment" in settings:
        settings["augment"] = without_choice(settings["augment"], settings.get("model", {}))
    if settings.get("scene") == asdict(SceneClasses()):  # runs of before knew nothing of it
        del settings["scene"]
    if settings.get("method") == RECONSTRUCT:  # runs of before knew no other
        settings = {k: v for k, v in settings.items() if k not in ("method", "distil")}
    for room in OWNABLE & settings.keys():
        settings[room] = without_unset(settings[room])
    return settings | ({"files": [os.path.abspath(path) for path in files]} if files else {})


@contextmanager
def opened(
    config: Any,
    name: str,
    products: tuple[str, ...],
    *,
    but: tuple[str, ...] = (),
    files: Sequence[str] = (),
) -> Iterator[None]:
    """Claim the run folder of a training and write down how it is made.

    The first of several processes does. config: with run, overwrite and fit. name: of the command.
    but: settings that do not decide what comes out. files: that a setting found: others make
    another run.
    Raises: InputError if there is a run of other settings, or another process trains there.
    """
    if not launch.first(config.fit.nodes):
        yield
        return
    settings, run = _claimed(config, but, files), Path(config.run)
    # A log without an epoch is nothing to keep.
    kept = tuple(name for name in products if name not in LOGS)
    with held(run, name), clearing(run, kept):
        _go_on_longer(run, settings, name)
        claim(run, settings, command=name, products=products, overwrite=config.overwrite)
        _check_whole(run, products, overwrite=config.overwrite)
        command.record(Path(config.run), name, config)
        yield


def _longer(run: Path, settings: dict[str, Any], name: str) -> list[str]:
    """What was raised, if a training in the folder is to last longer and nothing else differs."""
    before = read_claim(run, command=name) or {}
    old, new = before.get("fit"), settings["fit"]
    if not isinstance(old, dict) or not origin.goes_on(run):
        return []
    others = differences(run, settings, command=name) or ()
    if not {f"fit.{key}" for key in LENGTHS}.issuperset(others):
        return []
    old, new = _lengths(old), _lengths(new)
    changed = [key for key in LENGTHS if old[key] != new[key]]
    if not all(_is_longer(old[key], new[key]) for key in changed):
        return []
    return [f"fit.{key} {_said(old[key])} → {_said(new[key])}" for key in changed]


def _lengths(fit: dict[str, Any]) -> dict[str, Any]:
    """The settings that say how long a training lasts; none and 0 stand for never."""
    lengths = {key: fit.get(key) for key in LENGTHS}
    if lengths["epochs"] is None and lengths["max_minutes"] is None:
        lengths["epochs"] = EPOCHS
    return lengths


def _is_longer(old: Any, new: Any) -> bool:
    """Whether a training ends later by a setting; none and 0 stand for never."""
    return not new or (bool(old) and new > old)


def _said(value: Any) -> str:
    return f"{value:g}" if value else "none"


def _go_on_longer(run: Path, settings: dict[str, Any], name: str) -> None:
    """Let a training that is to last longer go on, and say what that means."""
    if raised := _longer(run, settings, name):
        rewrite_claim(run, settings, command=name)
        print(
            f"{run}: goes on ({', '.join(raised)}): the schedule now spans the whole of that, so"
            " the learning rate rises again from where it ended, and falls to the new end"
        )


def _check_whole(run: Path, products: Sequence[str], *, overwrite: bool) -> None:
    """Raises: InputError if what a training goes on from is damaged; overwrite starts anew."""
    last = run / LAST
    if not last.exists():
        return
    weights = [run / name for name in (BEST, ENCODER) if name in products]
    broken = [] if _is_whole_zip(last) else [last]
    broken += [path for path in weights if not whole_weights(path)]
    if not broken:
        return
    names = " and ".join(path.name for path in broken)
    if not overwrite:
        raise InputError(
            f"{run}: {names}: gone or damaged, so that the training can't go on from here; put"
            f" {'it' if len(broken) == 1 else 'them'} back, or overwrite=true starts anew"
        )
    print(f"{run}: {names}: gone or damaged; starts anew")
    remove(run, products)


def _is_whole_zip(path: Path) -> bool:
    """Whether a file of torch.save, which is a zip archive, is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return False


def record(folder: Path, name: str, config: Any) -> None:
    """Write what a command was told to <folder>/.hydra, so that the folder can repeat itself.

    `python -m geoseg.<name> --config-dir <folder>/.hydra --config-name config` composes it again.
    """
    quiet = {f"override hydra/{log}": "disabled" for log in ("job_logging", "hydra_logging")}
    header = {
        "defaults": [f"{name}_schema", "_self_", *({k: v} for k, v in quiet.items())],
        "hydra": {"run": {"dir": "."}, "output_subdir": None},
    }
    target = folder / ".hydra"
    make_folder(target)
    values = _literal(asdict(config))
    content = OmegaConf.create(header | values)
    with replacing(target / "config.yaml") as temporary:
        OmegaConf.save(content, temporary)
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    with replacing(target / "overrides.yaml") as temporary:
        OmegaConf.save(OmegaConf.create(list(overrides)), temporary)


def _literal(value: Any) -> Any:
    """Settled values as a file must hold them: a ${ in a path is no reference to another key."""
    if isinstance(value, dict):
        return {key: _literal(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(part) for part in value]
    if isinstance(value, str | os.PathLike):
        return keys.escape(os.fspath(value))
    return float(value) if isinstance(value, float) else value  # NumPy's are read by NumPy alone
