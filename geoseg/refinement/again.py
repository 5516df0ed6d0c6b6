"""Say which commands train a network anew with corrections among its labels."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.outputs.files import replacing
from geoseg.prediction.network import TrainedNetwork
from geoseg.refinement.old_maps import OldMap
from geoseg.refinement.steps import Step
from geoseg.scenes.bands import Bands
from geoseg.scenes.dated import AnyScene

LEGEND = "legend.yaml"


def training_commands(
    network: TrainedNetwork, old: Sequence[OldMap], out: Path, step: Step
) -> list[str]:
    """What to type for a whole new training; keys of `prepare` as far as the run's data set says.

    Raises: InputError if the legend can't be written.
    """
    source = network.source
    run = source.parent if isinstance(source, Path) else None
    dataset = None if run is None else _dataset_of(run)
    corrections = f"corrections={out / step.corrections}"
    target = out / "dataset"
    if dataset is None:
        prepare = ["python", "-m", "geoseg.prepare", "<as before>", corrections]
        prepare += [f"dataset={target}"]
        words = " ".join(prepare)
    else:
        with replacing(out / LEGEND) as temporary:
            text = yaml.safe_dump(dataset.legend.to_dict(), allow_unicode=True, sort_keys=False)
            temporary.write_text(text, encoding="utf-8")
        keys = _keys(dataset, [one for one in old if one.scene.name in step.scenes])
        keys += [f"legend.path={out / LEGEND}", corrections, f"dataset={target}"]
        words = shlex.join(["python", "-m", "geoseg.prepare", *keys])
    train = shlex.join(
        [
            *("python", "-m", "geoseg.train", f"dataset={target}", f"run={out / 'run'}"),
            *(f"model.weights={source}", "model.keep=network"),
        ]
    )
    return [f"a whole new training with these corrections:\n{words} && \\\n{train}"]


def _dataset_of(run: Path) -> Dataset | None:
    """The data set of a run; None if its record or the data set is gone."""
    try:
        with (run / ".hydra" / "config.yaml").open(encoding="utf-8") as file:
            said = yaml.safe_load(file)
        return Dataset.load(said["dataset"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, InputError):
        return None


def _keys(dataset: Dataset, old: Sequence[OldMap]) -> list[str]:
    """Keys of prepare that made a data set, with further scenes, which go into training."""
    known = {scene.name: scene for scene in dataset.scenes}
    more = [one.scene for one in old if one.scene.name not in known]
    keys = [scenes_key(dataset.settings, [*known.values(), *more])]
    for name, kind in (("labels", Labels), ("tiling", Tiling), ("split", Split), ("bands", Bands)):
        said = dict(dataset.settings.get(name) or {})
        if name == "split" and isinstance(said.get("train"), list) and said["train"]:
            said["train"] = [*said["train"], *(scene.name for scene in more)]
        keys += _set(name, said, kind())
    return keys


def scenes_key(settings: Mapping[str, Any], scenes: Sequence[AnyScene]) -> str:
    """The files; where a catalog has named one for each band, only it says which are which."""
    by_pattern = (settings.get("bands") or {}).get("pattern")
    if not by_pattern and any(len(scene.paths) > 1 for scene in scenes):
        return "scenes=<as before>"
    paths = [str(path) for scene in scenes for path in scene.paths]
    return f"scenes=[{','.join(dict.fromkeys(paths))}]"


def _set(group: str, said: dict[str, Any], default: Any) -> list[str]:
    """key=value of what differs from the defaults."""
    usual = dataclasses.asdict(default)
    return [
        f"{group}.{key}={_text(value)}"
        for key, value in said.items()
        if key in usual and value != usual[key]
    ]


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    return str(value)
