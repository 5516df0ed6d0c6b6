"""Take only settings from configuration files that came from elsewhere.

Hydra's own section of a file can run code, set variables of the environment and unpickle; and a
setting may be text that Hydra fills in with a variable of the environment.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoseg.errors import InputError
from geoseg.received.yaml_file import parse_yaml

_QUIET = {"run": {"dir": "."}, "output_subdir": None}
"""What `command.record` writes of Hydra, and what always holds: it leaves nothing of its own."""
_LOGS = ("override hydra/job_logging", "override hydra/hydra_logging")
_REACHING = {"engine.address", "fit.logger"}
"""Settings that lead to other machines; they are to be given on the command line, as is every
`target`, which names code that is run."""
_LOCAL = {"tensorboard", "none", None}
_PLAIN = re.compile(r"\$\{[\w.\[\]]+\}")
"""A reference to another setting: ${model.name}."""


def take(arguments: list[str], name: str, schema: type) -> list[str]:
    """Have Hydra see what is harmless in the folder that `--config-dir` names.

    arguments: of the command line (program, words …); the folder is replaced in it.
    Returns: what was left out, a line for each file.
    Raises: InputError for a folder that isn't there, files that are no YAML, and options that
    would run what a file says.
    """
    found = _options(arguments[1:])
    if found is None:
        return []  # Hydra comes to the same word, and says so
    if found.experimental_rerun is not None:
        raise InputError(
            "--experimental-rerun: unpickles a file, which may run anything; repeat a run with"
            " --config-dir <run>/.hydra --config-name config"
        )
    if found.config_path is not None:
        raise InputError("--config-path: give a folder of configurations as --config-dir")
    if found.config_dir is None:
        return []
    words = {arguments[i].rpartition("=")[2] for i in range(1, len(arguments))}
    notes = _store(Path(found.config_dir), name, schema, wanted=words | {found.config_name or ""})
    # The last one counts; this one holds nothing that Hydra doesn't know.
    empty = Path(__file__).parent
    arguments += ["--config-dir", str(empty)]
    return notes


def choices(arguments: list[str]) -> dict[str, list[str]]:
    """Names of the files that the folder of `--config-dir` adds to each group."""
    found = _options(arguments)
    folder = Path(found.config_dir) if found and found.config_dir is not None else None
    if folder is None or not folder.is_dir():
        return {}
    groups = [path for path in folder.iterdir() if path.is_dir()]
    return {path.name: sorted(file.stem for file in path.glob("*.yaml")) for path in groups}


def _options(arguments: list[str]) -> argparse.Namespace | None:
    """The options of Hydra among the words; None if they can't be told."""
    options = argparse.ArgumentParser(add_help=False, prefix_chars="-", exit_on_error=False)
    options.add_argument("--config-dir", "-cd")
    options.add_argument("--config-path", "-cp")
    options.add_argument("--config-name", "-cn")
    options.add_argument("--experimental-rerun")
    for flag in ("--cfg", "-c", "--package", "-p", "--info", "-i"):
        options.add_argument(flag, nargs="?")
    for flag in ("--multirun", "-m", "--resolve", "--run", "-r", "--shell-completion", "-sc"):
        options.add_argument(flag, action="store_true")
    try:
        found, _ = options.parse_known_args(arguments)
    except (argparse.ArgumentError, SystemExit):
        return None
    return found


def _store(folder: Path, name: str, schema: type, *, wanted: set[str]) -> list[str]:
    """Make the files known to Hydra, without what is not a setting of the command."""
    if not folder.is_dir():
        raise InputError(f"--config-dir {folder}: no such folder")
    fields = {field.name for field in dataclasses.fields(schema)}
    store = ConfigStore.instance()
    own = set(store.repo)
    notes = []
    for group in ("", *sorted(fields | {"experiment"})):
        if not (folder / group).is_dir():
            continue
        for path in sorted((folder / group).glob("*.yaml" if not group else "**/*.yaml")):
            if not group and path.name in own:
                continue  # a schema is not replaced
            left_out: list[str] = []
            try:
                node, package = _clean(path, group, name, fields, left_out)
            except InputError:
                if path.stem in wanted or path.name in wanted:
                    raise
                continue  # some other file, of which nobody spoke
            below = path.parent.relative_to(folder).as_posix()
            if node is not None:
                store.store(
                    name=path.stem,
                    node=node,
                    group=None if below == "." else below,
                    package=package,
                    provider=str(folder),
                )
            if left_out and (path.stem in wanted or path.name in wanted):
                said = ", ".join(dict.fromkeys(left_out))
                notes.append(
                    f"{path}: left out {said[:500]}: of a file only settings of this command are"
                    " taken; give the rest on the command line"
                )
    return notes


def _clean(
    path: Path, group: str, name: str, fields: set[str], left_out: list[str]
) -> tuple[dict[str, Any] | None, str | None]:
    """Settings of a file, and the package that its first lines name."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as UTF-8 text ({error})") from None
    content = parse_yaml(text, path, _load)
    if not isinstance(content, dict):
        return None, None
    package = None
    if header := re.match(r"(?:\s*#.*\n)*?\s*#\s*@package\s+(\S+)", text):
        package = header[1]
    where = package or group or "_global_"
    top = where == "_global_"
    if "hydra" in where:
        left_out.append(f"the package {where}")
        return None, None
    node: dict[Any, Any] = {}
    for key, value in content.items():
        if key == "defaults":
            node[key] = _defaults(value, name, fields, left_out)
        elif key == "hydra":
            if kept := _params(value, fields, left_out):
                node["hydra"] = {"sweeper": {"params": kept}}
        elif _is_unsafe(str(key)):
            left_out.append(str(key)[:80])
        else:
            prefix = f"{key}" if top else f"{where}.{key}"
            value = _harmless(value, prefix, left_out)
            if value is not _GONE:
                node[key] = value
    if not group:  # else Hydra leaves a folder of its own behind
        node["hydra"] = node.get("hydra", {}) | _QUIET
    return node, package


def _load(text: str) -> Any:
    """As Hydra reads YAML: 1e-3 is a number, yes is text."""
    try:
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from None


_GONE = object()


def _is_unsafe(text: str) -> bool:
    """Whether Hydra would put something in that isn't a setting, or call something."""
    return "${" in _PLAIN.sub("", text) or text in ("_target_", "_partial_", "_recursive_")


def _reaches(key: str) -> bool:
    """Whether a setting leads to other machines or to code."""
    return key in _REACHING or re.split(r"[.@/]", key)[-1] == "target"


def _harmless(value: Any, key: str, left_out: list[str]) -> Any:
    if _reaches(key) and value not in (*_LOCAL,):
        left_out.append(f"{key}={value}"[:80])
        return _GONE
    if isinstance(value, dict):
        kept = {}
        for name, part in value.items():
            part = _GONE if _is_unsafe(str(name)) else _harmless(part, f"{key}.{name}", left_out)
            if part is not _GONE:
                kept[name] = part
            elif _is_unsafe(str(name)):
                left_out.append(f"{key}.{name}"[:80])
        return kept
    if isinstance(value, list):
        parts = [_harmless(part, key, left_out) for part in value]
        return [part for part in parts if part is not _GONE]
    if isinstance(value, str) and _is_unsafe(value):
        left_out.append(f"{key}={value}"[:80])
        return _GONE
    return value


def _params(hydra: Any, fields: set[str], left_out: list[str]) -> dict[str, Any]:
    """Of Hydra's section the values that a sweep tries; nothing else of it is a setting."""
    kept: dict[str, Any] = {}
    for key, value in hydra.items() if isinstance(hydra, dict) else ():
        if _QUIET.get(key, _GONE) == value:
            continue
        params = value.get("params") if key == "sweeper" and isinstance(value, dict) else None
        if not isinstance(params, dict) or len(value) > 1:
            left_out.append(f"hydra.{key}")
        for name, tried in params.items() if isinstance(params, dict) else ():
            root = re.split(r"[.@/]", str(name).lstrip("+~"))[0]
            whole = f"{str(name).lstrip('+~')}={tried}"
            reaching = _reaches(str(name).lstrip("+~")) or re.search(r"\btarget\b", whole)
            if root in fields | {"experiment"} and not _is_unsafe(str(tried)) and not reaching:
                kept[str(name)] = tried
            else:
                left_out.append(f"hydra.sweeper.params.{name}"[:80])
    if hydra is not None and not isinstance(hydra, dict):
        left_out.append("hydra")
    return kept


def _defaults(given: Any, name: str, fields: set[str], left_out: list[str]) -> list[Any]:
    """Entries that choose among the ready-made groups of this command."""
    kept: list[Any] = []
    for entry in given if isinstance(given, list) else [given]:
        if entry in [{log: "disabled"} for log in _LOGS] or _is_choice(entry, name, fields):
            kept.append(entry)
        else:
            left_out.append(f"defaults: {entry}"[:80])
    return kept


def _is_choice(entry: Any, name: str, fields: set[str]) -> bool:
    """Whether an entry names this command, or a choice of one of its groups by a plain name."""
    if isinstance(entry, str):
        return entry in ("_self_", f"{name}_schema", name)
    if not isinstance(entry, dict) or len(entry) != 1:
        return False
    ((key, choice),) = entry.items()
    group = str(key).removeprefix("optional ").removeprefix("override ").strip().lstrip("/")
    choices = choice if isinstance(choice, list) else [choice]
    named = all(one is None or re.fullmatch(r"\w[\w.+-]*", str(one)) for one in choices)
    return group in fields | {"experiment"} and named
