"""`geoseg …`: the list of commands, their help and the completion of a shell."""

import dataclasses
import importlib
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from geoseg import __version__
from geoseg.commands import completion, schema, shell, verbs

DERIVED = {"tiling.overlap"}
"""Defaults that __post_init__ works out."""


def test_every_command_is_in_the_list_with_a_sentence(capsys):
    package = verbs.PACKAGE
    flat = {path.stem for path in package.glob("*.py")}
    assert {*verbs.VERBS} == {"demo", "export", *flat} - {
        "__init__",
        "__main__",
        "errors",
        "lazily",
    }
    assert shell.main([]) == 0
    told = capsys.readouterr().out
    for verb in verbs.VERBS:
        assert verb in told
        assert verbs.summary(verb).endswith(".")


@pytest.mark.parametrize("columns", [80, 140])
def test_help_fits_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for verb in verbs.VERBS:
        assert shell.main([verb, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        assert {line.split()[0] for line in lines if line.startswith("  ")} >= {
            setting.key for part in schema.sections_of(verb) for setting in part.settings
        }
    assert max(map(len, lines)) > columns - 20


def test_help_begins_with_what_is_used_most_and_ends_with_series(capsys):
    shell.main(["help", "predict"])
    told = capsys.readouterr().out
    places = [told.index(text) for text in ("  checkpoint ", "\nbands:", "\nseries:")]
    assert places == sorted(places)
    for verb, usual in verbs.USUAL.items():
        known = {s.key for part in schema.sections_of(verb) for s in part.settings}
        assert {*usual} <= known


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_settings_read_from_the_source_are_those_of_the_dataclass(verb):
    module = importlib.import_module(
        f"geoseg.{verb}" + (".__main__" if verb in ("demo", "export") else "")
    )
    config = getattr(module, verbs.schema_of(verb))
    read = {s.key: s.default for part in schema.sections_of(verb) for s in part.settings}
    live = dict(defaults(config))
    assert read.keys() == live.keys()
    assert {k: v for k, v in read.items() if k not in DERIVED} == {
        k: v for k, v in live.items() if k not in DERIVED
    }
    assert all(s.doc for part in schema.sections(config) for s in part.settings)


def defaults(config, prefix="", given=None):
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind, factory = hints[field.name], field.default_factory
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            own = factory() if factory not in (kind, dataclasses.MISSING) else None
            yield from defaults(kind, f"{prefix}{field.name}.", own)
            continue
        value = field.default if factory is dataclasses.MISSING else factory()
        yield prefix + field.name, value if given is None else getattr(given, field.name)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "trian: no such command; did you mean geoseg train?"),
        (["xyzzy"], "xyzzy: no such command (all commands: geoseg)"),
        (["fit.epochs=3"], "the command comes first, as in geoseg train fit.epochs=3"),
        (["--verison"], "--verison: no such option"),
        (["completion", "fish"], "give the shell, bash or zsh; got fish"),
        (["completion"], "give the shell, bash or zsh; none given"),
    ],
)
def test_what_is_no_command_is_refused(words, told, capsys):
    assert shell.main(words) == 2
    assert told in capsys.readouterr().err


def test_version_and_a_verb_with_dashes(capsys):
    assert shell.main(["--version"]) == 0
    assert shell.main(["prepare-series", "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"geoseg {__version__}\n")
    assert "geoseg prepare_series key=value" in told


def completed(line, tmp_path):
    script = tmp_path / "geoseg.bash"
    script.write_text(completion.script("bash"))
    ask = f'source {script}; COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _geoseg'
    ask += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_bash_completes_commands_keys_and_choices(tmp_path):
    Path(tmp_path / "scenes").mkdir()
    assert completed("geoseg trai", tmp_path) == ["train"]
    assert completed("geoseg train fit.epo", tmp_path) == ["fit.epochs=", "fit.epoch_tiles="]
    assert completed("geoseg train model=un", tmp_path) == ["unet", "unetplusplus"]
    assert completed("geoseg train overwrite=", tmp_path) == ["true", "false"]
    assert completed("geoseg predict scenes=sc", tmp_path) == ["scenes"]
    assert completed("geoseg completion z", tmp_path) == ["zsh"]


def test_the_list_waits_for_no_library(tmp_path):
    call = [sys.executable, "-X", "importtime", "-m", "geoseg"]
    done = subprocess.run([*call, "train", "--help"], capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "geoseg" in loaded
    assert not {"numpy", "hydra", "omegaconf", "rasterio", "torch", "yaml", "rich"} & loaded


def test_help_of_a_module_is_that_of_the_command(capsys):
    for call in (["python", "-m", "pytest", "-h"], ["python", "-h"], ["python", "-m"]):
        shell.answer_help(call)
    assert not capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        shell.answer_help(["python", "-X", "dev", "-m", "geoseg.train", "-h"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("geoseg train key=value …")
