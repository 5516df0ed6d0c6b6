"""Write the commands of geoseg for the QGIS plugin, and pack the plugin as a zip for QGIS.

python qgis/build.py [--check]

qgis/geoseg_tools/commands.json is made from the dataclasses of the commands, as --help is, and is
part of the project; dist/geoseg_tools.zip is what QGIS installs (Plugins > Install from ZIP).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.commands import help, schema, verbs
from geoseg.commands.schema import UNKNOWN, Setting
from geoseg.outputs.stopping import ANEW

HERE = Path(__file__).parent
PLUGIN = HERE / "geoseg_tools"
COMMANDS = PLUGIN / "commands.json"
ZIP = HERE.parent / "dist" / "geoseg_tools.zip"
VERBS = (
    *("prepare", "train", "calibrate", "predict", "mosaic", "vectorize"),
    *("evaluate", "sample", "assess", "compare"),
    *("suggest", "refine"),
)
FOLDERS = ("scenes", "maps", "exclude", "checkpoint", "fit.unlabelled", "fit.remember")
"""Keys that take a folder most often; what else they take can be typed."""
FILES = (
    *("labels.path", "labels.area", "legend.path", "area", "points", "parcels", "table"),
    *("model.weights", "corrections"),
)
RASTERS, VECTORS = ("map", "before", "after", "like"), ("sample",)
"""Keys that take a layer of the project."""
OUTPUTS = {
    "prepare": {"dataset": "out_folder"},
    "train": {"run": "out_folder"},
    "calibrate": {"out": "out_weights"},
    "predict": {"out": "out_folder"},
    "mosaic": {"out": "out_raster"},
    "vectorize": {"out": "out_vector"},
    "suggest": {"out": "out_vector"},
}
"""Keys of what a command writes; of others `out`, a folder."""
REQUIRED = {
    "prepare": ("scenes", "labels.path"),
    "train": ("dataset",),
    "calibrate": ("checkpoint", "dataset"),
    "predict": ("checkpoint",),
    "mosaic": ("maps",),
    "vectorize": ("map",),
    "evaluate": ("map",),
    "sample": ("map",),
    "assess": ("sample",),
    "compare": ("before", "after"),
    "suggest": ("maps",),
    "refine": ("checkpoint", "scenes", "maps"),
}
"""Keys without which a command takes the demo's data, which QGIS is not meant to."""
LEFT_OUT = {"refine": ("serve", "port")}
"""Keys that are of no use in QGIS, which waits until a command ends."""
DATASET = ("train", "evaluate", "calibrate", "suggest")
"""Commands whose key `dataset` is a folder to read."""
LABEL = 90
"""Letters of a label at most: the rest is in the tooltip."""


def commands() -> dict[str, Any]:
    """What the plugin knows of geoseg, for JSON."""
    return {"version": __version__, "commands": {verb: command(verb) for verb in VERBS}}


def command(verb: str) -> dict[str, Any]:
    """A command: what it does, and its parameters in the order of its help."""
    sections = schema.sections_of(verb)
    left_out = LEFT_OUT.get(verb, ())
    every = {s.key: s for section in sections for s in section.settings if s.key not in left_out}
    # The order and choice of the help: what is used most comes first.
    usual = verbs.USUAL.get(verb, tuple(s.key for s in sections[0].settings))
    first = [key for key in usual if key in every]
    keys = [*first, *(key for key in every if key not in first)]
    ready = help.groups_of(verb, sections)
    parameters = [parameter(verb, every[key], usual=key in first) for key in keys]
    parameters += [choice(name, names) for name, names in ready.items()]
    parameters.sort(key=lambda p: (not p["required"], not p["usual"], p["kind"].startswith("out")))
    group = next(title for title, names in verbs.GROUPS.items() if verb in names)
    purpose = " ".join(schema.purpose_of(verb).split())
    return {
        "group": group,
        "summary": verbs.summary(verb),
        "purpose": purpose,
        "goes_on": verb not in ANEW,
        "parameters": parameters,
    }


def parameter(verb: str, setting: Setting, *, usual: bool) -> dict[str, Any]:
    """A key as a parameter of Processing."""
    kind = kind_of(verb, setting)
    is_path = kind not in ("bool", "int", "float", "text", "list")
    required = setting.key in REQUIRED[verb] or kind.startswith("out")
    meaning = without_demo(setting.doc)
    return {
        "name": setting.key,
        "kind": kind,
        "default": None if is_path else default_of(setting),
        "label": label(meaning, setting.key),
        "help": meaning,
        "required": required,
        "usual": usual or required,
    }


def kind_of(verb: str, setting: Setting) -> str:
    key = setting.key
    outputs = OUTPUTS.get(verb, {"out": "out_folder"})
    if key in outputs:
        return outputs[key]
    if key == "dataset" and verb in DATASET:
        return "folder"
    for kind, keys in (
        *(("folder", FOLDERS), ("file", FILES)),
        *(("raster", RASTERS), ("vector", VECTORS)),
    ):
        if key in keys and not (verb == "assess" and key == "map"):
            return kind
    if verb == "assess" and key == "map":
        return "raster"
    base = setting.type.removesuffix(" | None")
    if base.startswith("list"):
        return "list"
    return base if base in ("bool", "int", "float") and setting.type != "bool | None" else "text"


def default_of(setting: Setting) -> Any:
    """As it is typed on the command line; None = none."""
    value = setting.default
    if value is UNKNOWN or value in ([], {}, ""):
        return None
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    if value is None or setting.type.removesuffix(" | None") in ("bool", "int", "float"):
        return value
    return str(value)


def without_demo(doc: str) -> str:
    """The meaning of a key, without what only the demo has to do with."""
    return re.sub(r"[;,] (?:none =|by default) the demo's(?=\.$)", "", doc)


def label(doc: str, key: str) -> str:
    """What a key means, in short, and the key itself."""
    short = re.split(r"; |: |\. ", doc.rstrip("."), maxsplit=1)[0]
    if len(short) > LABEL:
        short = short[:LABEL].rsplit(" ", 1)[0].rstrip(",") + " …"
    return f"{short} [{key}]" if short else key


def choice(name: str, names: list[str]) -> dict[str, Any]:
    """A group of ready-made settings."""
    return {
        "name": name,
        "kind": "choice",
        "choices": names,
        "default": None,
        "label": f"Ready-made settings [{name}]",
        "help": f"Ready-made settings of {name}; keys that are given besides change them.",
        "required": False,
        "usual": name in ("model", "legend"),
    }


def text() -> str:
    """Content of commands.json."""
    return json.dumps(commands(), indent=1, ensure_ascii=False) + "\n"


def pack(to: Path) -> None:
    """Write the zip: the same bytes for the same plugin."""
    to.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(p for p in PLUGIN.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*files, HERE.parent / "LICENSE"]:
            inside = path.relative_to(HERE) if path in files else Path("geoseg_tools") / path.name
            entry = zipfile.ZipInfo(inside.as_posix())
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="only say whether all is up to date")
    if parser.parse_args().check:
        same = COMMANDS.read_text(encoding="utf-8") == text()
        print(f"{COMMANDS}: {'up to date' if same else 'out of date; run make qgis'}")
        return 0 if same else 1
    COMMANDS.write_text(text(), encoding="utf-8")
    pack(ZIP)
    print(f"{ZIP}: install it in QGIS by Plugins > Manage and Install Plugins > Install from ZIP")
    return 0


if __name__ == "__main__":
    sys.exit(main())
