"""Say in a sentence what Hydra and OmegaConf object to, in words that no one must know them for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import errors

from geoseg.commands.command_line import Known
from geoseg.errors import shown

SWEEP = 'pip install "geoseg[sweep]" brings joblib, submitit and optuna'


def explain(error: BaseException, known: Known) -> str:
    """The fault that an error of Hydra means, with the remedy."""
    causes = list(_causes(error))
    where = next((m[1] for c in causes if (m := re.match(r"In '([^']+)'", str(c)))), "")
    override = _override(causes)
    for cause in reversed(causes):
        if text := _sentence(cause, known, override):
            inside = f"{where}: " if where and where != known.name and not override else ""
            return f"{inside}{text}; {known.help}"
    what = override or where or known.name
    return f"{what}: can't be taken as a setting; give it as key=value; {known.help}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _override(causes: list[BaseException]) -> str:
    """The word of the command line that an error is about."""
    for cause in causes:
        if found := re.match(r"Error merging override \+*(.*)", str(cause), re.DOTALL):
            return found[1]
    return ""


def _sentence(error: BaseException, known: Known, override: str) -> str | None:
    text, key = str(error), str(getattr(error, "full_key", None) or "")
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: can't be read as key=value; quote a value with = [ ] {{ }} , or :"
            " twice, as in 'key=\"a=b\"'"
        )
    if isinstance(error, MissingConfigException):
        return _missing(text)
    inner = re.search(r"full_key: (\S+)", text)  # of an error that Hydra only quotes
    key = key or (inner[1] if inner else "")
    unknown = re.search(r"Key '([^']+)' (?:is )?not in", text)
    if isinstance(error, errors.ConfigKeyError | errors.ConfigAttributeError) or unknown:
        key = key or (unknown[1] if unknown else "")
        if not key:
            return None
        if key.startswith("hydra."):
            return f"{key}: no such key"
        near = known.near(key)
        return f"{key}: no such key" + (f"; did you mean {near}?" if near and near != key else "")
    if isinstance(error, errors.MissingMandatoryValue):
        return f"{key}: no value; give one as {key}=<value>"
    if isinstance(error, errors.InterpolationResolutionError):
        return _reference(text, key)
    wrong = isinstance(error, errors.ValidationError | errors.ConfigTypeError) or inner
    if wrong and key:
        return _wrong(text, key, known, override)
    if isinstance(error, HydraException):
        return _hydra(text)
    return None


def _missing(text: str) -> str:
    found = re.search(r"Could not (?:find|load) '([^']+)'", text)
    if found and found[1].startswith("hydra/"):
        return f"{found[1]}: not installed; {SWEEP}"
    if found:
        group, _, name = found[1].rpartition("/")
        offered = re.search(r"Available options in '[^']*':\n((?:\t.*\n?)+)", text)
        names = ", ".join(offered[1].split()) if offered else ""
        said = f"{group}={name}" if group else name
        return f"{said}: no such file of settings" + (f"; choose from {names}" if names else "")
    found = re.search(r"Cannot find primary config '([^']+)'", text)
    name = found[1] if found else "--config-name"
    return f"{name}: no such file of settings; name one of the folder --config-dir"


def _reference(text: str, key: str) -> str:
    if found := re.search(r"Environment variable '([^']+)' not found", text):
        return f"{key}: the variable {found[1]} of the environment is not set"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{key}: refers to ${{{found[1]}}}, and there is no such setting"
    return f"{key}: what its ${{…}} refers to gives no value of the right type"


def _wrong(text: str, key: str, known: Known, override: str) -> str:
    value = override.partition("=")[2]
    got = re.search(r"[Vv]alue '(.*?)' (?:of type|is not)", text) or re.search(r"value: (.*)", text)
    value = value if override.startswith(f"{key}=") else (got[1] if got else "")
    said = f"{key}={value}" if value else key
    if key in known.settings:
        return f"{said}: expected {known.expected(key)}"
    if key in known.parts:
        inside = ", ".join(k for k in known.settings if k.startswith(f"{key}."))
        return f"{said}: has settings of its own: {inside}"
    return f"{said}: not a value that this setting takes"


def _hydra(text: str) -> str | None:
    if found := re.match(r"Could not override '([^']+)'", text):
        return f"{found[1]}: no such key"
    if found := re.match(r"Could not (?:append to|delete from) config\D*?'([^']+)'", text):
        return f"{found[1]}: write it without + or ~, as {found[1].partition('=')[0]}=<value>"
    found = re.match(r"(\S+) appears more than once", text)
    if found := found or re.match(r"Multiple values for (\S+?)\.", text):
        return f"{found[1]}: chosen twice; write it without +"
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'", text):
        return f"{found[1]}: one value is expected; --multirun trains once for each of several"
    if "'hydra/launcher/" in text or "'hydra/sweeper/" in text:
        return f"hydra/launcher, hydra/sweeper: not installed; {SWEEP}"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return (
        shown(first.rstrip(".,"), 300).strip("'\"") if first and not _JARGON.search(first) else None
    )


_JARGON = re.compile(
    r"struct|subclass|overrid|append|DictConfig|ListConfig|Optional|mandatory|merg|default|primary"
    r"|interpolat|compos|type=|search path|mismatched|viable|Lexer|EOF|raised while",
    re.IGNORECASE,
)
"""Words of Hydra that tell a person nothing."""
