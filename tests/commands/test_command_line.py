"""Every way to get a command line wrong, and the sentence that answers it."""

import re

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoseg.commands import conf, run
from geoseg.commands.command_line import Known, check, check_values, structure
from geoseg.commands.explain import explain
from geoseg.errors import InputError
from geoseg.prepare import PrepareConfig
from geoseg.received import keys
from geoseg.train import TrainConfig

SCHEMAS = {"train": TrainConfig, "prepare": PrepareConfig}
JARGON = re.compile(
    r"struct|subclass|overrid|DictConfig|ListConfig|Optional|mandatory|defaults list|primary config"
    r"|interpolat|object_type|full_key|EOF|Lexer|converted|hydra\.cc|Traceback|Dict\[",
    re.IGNORECASE,
)


def known(name):
    return Known.of(name, SCHEMAS[name])


def checked(name, *words, sweeps=False):
    check(words, known(name), sweeps=sweeps)
    check_values(keys.for_hydra(words, SCHEMAS[name], sweeps=sweeps).words, known(name))


def faults(name, *words, sweeps=False):
    """What the checks of a command line say, in the order in which `run` makes them."""
    with pytest.raises(InputError) as caught:
        checked(name, *words, sweeps=sweeps)
    assert not any(map(JARGON.search, caught.value.faults)), caught.value.faults
    return caught.value.faults


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scenes", "x"], "--scenes x: settings have no dashes; write scenes=x"),
        (["--scenes=x"], "--scenes=x: settings have no dashes; write scenes=x"),
        (["-scenes", "x"], "write scenes=x"),
        (["--labels.path", "a b.gpkg"], "write labels.path='a b.gpkg'"),
        (["--labels-path", "x"], "write labels.path=x"),
        (["--scene", "x"], "write scenes=x"),
        (["--overwrite"], "write overwrite=<value>"),
        (["--nothing-like-it", "x"], "--nothing-like-it x: no such option"),
        (["scenes", "x"], "scenes x: write scenes=x"),
        (["scenes", "=", "x"], "scenes = x: write it without blanks: scenes=x"),
        (["scenes=", "x"], "write it without blanks: scenes=x"),
        (["scenes", "=x"], "write it without blanks: scenes=x"),
        (["scenes"], "scenes: no value; write scenes=<value>"),
        (["a.tif"], "a.tif: expected key=value, as in scenes=<value>"),
        (["tiling.sise=64"], "tiling.sise: no such key; did you mean tiling.size?"),
        (["+foo=1"], "foo: no such key"),
        (["tiling.size=many"], "tiling.size=many: expected a whole number, got many"),
        (["tiling.size=1.5"], "tiling.size=1.5: expected a whole number"),
        (["tiling.size="], "tiling.size=: expected a whole number, got nothing"),
        (["tiling.size=null"], "expected a whole number, got null"),
        (["tiling.size=[1]"], "tiling.size=[1]: expected a whole number"),
        (["tiling.size.x=1"], "tiling.size.x: no such key"),
        (["tiling=big"], "tiling=big: tiling has settings of its own: tiling.size"),
        (["legend=nix"], "legend=nix: choose from buildings"),
        (["legend=bildings"], "did you mean legend=buildings?"),
        (["legend=null"], "legend=null: choose from"),
        (["overwrite=maybe"], "overwrite=maybe: expected true or false, got maybe"),
        (["overwrite=???"], "no value; give one"),
        (["bands.order=red"], "expected a list, as in [a, b], got red"),
        (["bands.order=red,green"], "one value is expected; write a list as bands.order=[a,b]"),
        (["bands.extra=3"], "expected entries, as in {name: value}"),
        (["bands.partial=2,3"], "one value is expected"),
        (["~overwrite"], "settings are never taken away; leave it out"),
        (["legend@x=buildings"], "no key has @ or / in it"),
        (["=3"], "=3: expected key=value"),
    ],
)
def test_a_word_that_is_wrong_is_told_with_what_to_write(words, told):
    said = faults("prepare", *words)
    assert len(said) == 1, said
    assert told in said[0]


def test_all_wrong_words_are_told_at_once():
    said = faults("train", "foo=1", "model=nix", "fit.epochs=3", "seeds=4")
    assert [fault.partition(":")[0] for fault in said] == ["foo", "model=nix", "seeds"]
    assert len(faults("train", "seed=a", "fit.epochs=b", "fit.clip=c")) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--run", "out"], "--run out: settings have no dashes; write run=out"),
        (["--batch-size", "4"], "write fit.batch_size=4"),
        (["--epochs=4"], "write fit.epochs=4"),
        (["experiment=nix"], "experiment=nix: choose from buildings_segnet"),
        (["model=unet,fpn"], "model=unet,fpn: one value is expected; --multirun"),
        (["seed=1,2"], "one value is expected; --multirun trains once for each"),
        (["loss.terms.dice=abc"], "loss.terms.dice=abc: expected a number, got abc"),
        (["loss.terms=[a]"], "expected entries, as in {name: value}"),
        (["fit=5"], "fit=5: fit has settings of its own: fit.epochs"),
    ],
)
def test_words_of_train(words, told):
    said = faults("train", *words)
    assert len(said) == 1, said
    assert told in said[0]


@pytest.mark.parametrize(
    "words",
    [
        ["model=unet", "loss=dice", "experiment=demo", "fit.epochs=null", "seed=3"],
        ["model=unet", "loss.terms={dice: 1}", "loss.terms.focal=2", "++seed=4"],
        ["loss.class_weights={forest: 1}", "loss.class_weights.road=2", "run=a,b", "augment=none"],
        ["hydra.run.dir=x", "hydra/launcher=joblib", "model.weights=x=y", "model={detail: 8}"],
        ["--config-dir", "x", "--config-name", "config", "--cfg", "job", "--resolve"],
        ["run=${model.name}", "seed=${oc.env:SEED}"],
    ],
)
def test_what_is_right_passes(words):
    checked("train", *words)


def test_a_sweep_takes_several():
    words = ["-m", "model=unet,fpn", "seed=1,2", "fit.epochs=range(1,3)", "model=choice(unet,fpn)"]
    checked("train", *words, sweeps=True)
    assert "model=upn" in faults("train", "-m", "model=unet,upn", sweeps=True)[0]


COMPOSED = [
    "foo=1", "+seed=1", "~seed", "~foo", "seed=abc", "seed=1.5", "model=foo", "model.foo=1",
    "fit=5", "seed", "seed=1=2", "seed=", "seed=null", "loss.terms=3", "loss.terms=[a]",
    "seed=${foo}", "seed=${run}", "seed=${oc.env:NOPE}", "seed=${nope:1}", "hydra.foo=1",
    "model=[a,b]", "model=unet,fpn", "seed=choice(1,2)", "+model=unet", "model@x=unet",
    "seed=???", "overwrite=maybe", "seed.x=1", "model={foo: 1}", "model={detail: x}",
    "fit.epochs=[", "model.=3", "fit=null", "loss.terms.dice=abc", "loss.terms=null", "1=2",
    "+fit=5", "seed='a", "~model.name", "model.name.x=3", "hydra/launcher=nix",
]  # fmt: skip


@pytest.mark.parametrize("word", COMPOSED)
def test_what_hydra_itself_refuses_is_told_without_its_jargon(word):
    """Also what the checks let through, or what stands in a file."""
    run.register("train", TrainConfig)
    with (
        pytest.raises((HydraException, OmegaConfBaseException)) as caught,
        initialize_config_dir(str(conf.CONF), version_base="1.3"),
    ):
        run.to_objects(compose("train", [word]), TrainConfig)
    said = explain(caught.value, known("train"))
    key = re.split(r"[=@~+]", word.lstrip("~+"))[0].rstrip(".").removesuffix(".x")
    assert key.partition(".")[0] in said
    assert not JARGON.search(said), said
    assert "\n" not in said
    assert said.endswith("all keys: geoseg train --help")


@pytest.mark.parametrize(
    ("key", "meant"),
    [("fit.lr", "fit.learning_rate"), ("fit.bs", "fit.batch_size"), ("fit.x", None)],
)
def test_initials_are_understood_and_a_shared_room_is_no_likeness(key, meant):
    assert Known.of("train", TrainConfig).near(key) == meant


def test_what_was_checked_before_counts_no_longer():
    before = OmegaConf.to_yaml(structure(TrainConfig))
    checked("train", "fit.epochs=3", "loss.terms.focal=1")
    assert OmegaConf.to_yaml(structure(TrainConfig)) == before
