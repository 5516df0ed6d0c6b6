"""What is typed as key=value arrives as it was typed, in every form that the docs show."""

import re
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from geoseg.commands import conf, help, run, schema
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.maps.thresholds import Thresholds
from geoseg.received import keys
from geoseg.training.run import folder
from tests.commands.test_configuration import GROUPS, SCHEMAS, registered, schema_of

ROOT = Path(__file__).parents[2]
ODD = [
    *("a b", "x=1", "a,b", "(Raw)", "l'été", "50%", "#1", "[2021] ortho", "日本", "a:b", "a{b}"),
    *("~x", "dots.v1.2", "tab\tx", "-x", r"C:\data\été", "C:\\data\\", "'q", 'a"b', "a\\"),
    *("a${b}", "${model.name", "${x}", "$HOME", r"a\${b}", r"x\\${b}", r"\'", r"\\'", "''a"),
    *("010", "1_0", "1e3", "no", "true", "nan", "1.50", "0x1f", "2020-01-01", "+5", "@", "(a"),
]


def told(name, *arguments):
    """The settings of a command that is given these arguments."""
    return run.to_objects(composed(name, arguments), schema_of(name))


def composed(name, words):
    """The configuration of a command before its settings are checked."""
    schema = registered(name)
    made = keys.for_hydra(words, schema)
    with initialize_config_dir(str(conf.CONF), version_base="1.3"):
        cfg = compose(name, overrides=made.words)
    run.set_late(cfg, made.late)
    return cfg


def test_a_size_of_tiles_alone_is_enough_for_a_pretraining():
    made = told("pretrain", "scenes=a.tif", "run=b", "tiling.size=128")
    assert (made.tiling.size, made.tiling.overlap) == (128, 32)


def test_text_arrives_as_it_is_typed():
    """All odd texts, spread over the settings that take text: composing takes a while."""
    kinds = (keys.Kind.TEXT, keys.Kind.ANY)
    names = [key for key, kind in keys.settings(schema_of("prepare_series")) if kind in kinds]
    while len(names) < len(ODD):
        names += [f"bands.extra.x{len(names)}"]
    cfg = composed("prepare_series", [f"{k}={t}" for k, t in zip(names, ODD, strict=False)])
    for key, text in zip(names, ODD, strict=False):
        assert OmegaConf.select(cfg, key) == text


def test_text_arrives_as_it_is_typed_in_lists_and_dictionaries_too():
    texts = [text for text in ODD if not set(text) & set(",[]'\"")]
    listed = ",".join(texts)
    pairs = ", ".join(f"b{number}: {text}" for number, text in enumerate(texts))
    said = ["labels.path", "split.val", "bands.order", "series.masks"]
    words = [f"{key}=[b, {listed},c]" for key in said] + [f"bands.extra={{{pairs}}}"]
    cfg = composed("prepare_series", words)
    for key in said:
        assert list(OmegaConf.select(cfg, key)) == ["b", *texts, "c"]
    assert list(cfg.bands.extra.values()) == texts


@pytest.mark.parametrize("text", ["a${b} é", "010"])
def test_a_run_repeats_itself_from_its_record(tmp_path, text):
    config = told("train", f"dataset={text}", f"run={tmp_path}", f"loss.class_weights.{text}=2")
    folder.record(tmp_path, "train", config)
    with initialize_config_dir(str(tmp_path / ".hydra"), version_base="1.3"):
        again = run.to_objects(compose("config"), type(config))
    assert again == config
    assert again.dataset == text
    assert again.loss.class_weights == {text: 2}


def test_names_are_text_and_shares_numbers():
    split = told("prepare", "split.val=[11_0,1e3]", "split.test=1_10", "split.train=[010]").split
    assert (split.val, split.test, split.train) == (["11_0", "1e3"], ["1_10"], ["010"])
    split = told("prepare", "split.val=0.25", "split.test=0").split
    assert (split.val, split.test) == (0.25, 0)
    year = told("prepare_series", "split.by=column", "split.column=year", "split.val=[2019,007]")
    assert year.split.val == ["2019", "007"]


def test_numbers_stay_numbers_where_there_may_be_text():
    said = {
        "bands.nodata": "-9999",
        "split.val": "0.5",
        "split.test": "none",
        "tiling.overlap": "8",
    }
    cfg = composed("prepare", [f"{key}={text}" for key, text in said.items()])
    assert [OmegaConf.select(cfg, key) for key in said] == [-9999, 0.5, "none", 8]


def test_a_path_that_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("[a,b]", "a,b.tif", "'q'", "${dataset}"):
        Path(name).mkdir()
    assert told("prepare", "scenes=[a,b]").scenes == "[a,b]"
    assert told("prepare", "scenes=[x.tif,a,b.tif,y.tif]").scenes == ["x.tif", "a,b.tif", "y.tif"]
    assert told("prepare", "scenes='q'").scenes == "'q'"
    assert told("prepare", "scenes=${dataset}").scenes == "${dataset}"


def test_quotes_around_all_of_a_value_may_be_left_or_given():
    for said in ("'a=b'", '"a=b"', "a=b"):
        assert told("prepare", f"scenes={said}").scenes == "a=b"
    assert told("prepare", "scenes=['a,b', \"c\",d'e]").scenes == ["a,b", "c", "d'e"]
    assert told("prepare", r"scenes='it\'s'").scenes == "it's"


def test_references_to_other_settings_work():
    config = told("train", "run=runs/${model.name}/${seed}", "seed=3", "dataset=${oc.env:NO,x}/y")
    assert config.run == "runs/auto/3"
    assert config.dataset == "x/y"


SIGNS = ("", "+", "++")


def test_terms_of_the_loss_are_added_in_all_forms():
    forms = [("cross_entropy", "loss.terms.{}=1"), ("focal", "loss.terms.{}=1")]
    forms += [("lovasz", "loss.terms={{{}: 1}}"), ("tversky", "+loss.terms.{}=1")]
    forms += [("bootstrapped", "+loss.terms={{{}: 1}}"), ("symmetric", "++loss.terms.{}=1")]
    words = ["loss=dice", *(form.format(name) for name, form in forms)]
    assert told("train", *words).loss.terms == {"dice": 1} | {name: 1 for name, _ in forms}


def test_weights_of_classes_are_taken_in_all_forms():
    names = ["road", "main road", "forêt", "2021", "no", "a.b", "l'été"]
    for form in ("loss.class_weights.{}={}", "loss.class_weights={{{}: {}}}"):
        for sign in SIGNS:
            words = [sign + form.format(name, n) for n, name in enumerate(names, 1)]
            cfg = composed("train", words)
            assert cfg.loss.class_weights == {name: n for n, name in enumerate(names, 1)}


def test_thresholds_are_taken_in_all_forms():
    legend = Legend.parse([{"code": 1, "name": "forêt", "color": "green"}], "test")
    for form in ("=0.6", "={forêt: 0.6}", "={forêt:0.6}", ".forêt=0.6"):
        told_ = told("predict", f"predict.threshold{form}").predict.threshold
        assert Thresholds.parse(told_, legend).values == (0.6,)
    assert told("predict", "predict.threshold=null").predict.threshold is None


def test_extra_bands_are_taken_in_all_forms():
    forms = ("bands.extra.{}=d,e m.tif", "bands.extra={{{}: d,e m.tif}}")
    words = [f"{s}{f.format(f'b{i}{j}')}" for i, s in enumerate(SIGNS) for j, f in enumerate(forms)]
    cfg = composed("predict", words)
    assert cfg.bands.extra == {f"b{i}{j}": "d,e m.tif" for i in range(3) for j in range(2)}
    two = told("prepare", "bands.extra.hauteur é=a.tif", "bands.extra={x: C:\\b, y: b:c}")
    assert two.bands.extra == {"hauteur é": "a.tif", "x": "C:\\b", "y": "b:c"}


def test_classes_given_in_words_are_text():
    classes = told(
        "prepare", "legend.classes=[{code: 1, name: no, color: red, values: [010, 1e3]}]"
    )
    only = classes.legend.load().classes[0]
    assert (only.code, only.name, only.values) == (1, "no", ("010", "1e3"))


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("model.encoder=resnet18,vgg11", ["resnet18", "vgg11"]),
        ("dataset=a b/é,c", ["a b/é", "c"]),
        ("model.encoder=choice(a,b)", ["a", "b"]),
        ("fit.learning_rate=1e-3,1e-2", [1e-3, 1e-2]),
        ("fit.unlabelled=[a,b],c", [["a", "b"], "c"]),
        ("loss.terms.focal=1,2", [1, 2]),
    ],
)
def test_values_of_a_sweep_stay_several(said, values):
    (word,) = keys.for_hydra([said], schema_of("train"), sweeps=True).words
    override = OverridesParser.create().parse_override(word)
    assert override.is_sweep_override()
    assert list(override.sweep_iterator()) != []
    found = [getattr(v, "text", v) for v in override.value().list]
    assert [
        [getattr(x, "text", x) for x in v] if isinstance(v, list) else v for v in found
    ] == values


def test_a_sweep_refuses_what_it_has_no_words_for():
    with pytest.raises(InputError, match=r"loss\.class_weights"):
        keys.for_hydra(["loss.class_weights.forêt=1"], schema_of("train"), sweeps=True)


def test_what_is_no_setting_is_left_to_hydra():
    words = ["--multirun", "hydra.launcher.n_jobs=2", "legend=demo", "~bands.extra", "sed=1", "-m"]
    assert keys.for_hydra(words, schema_of("prepare")).words == words


def test_a_wrong_weight_is_told():
    with pytest.raises(InputError, match="expected a number"):
        told("train", "loss.class_weights={forêt: many}")
    with pytest.raises(InputError, match="name: value"):
        told("train", "loss.class_weights={forêt}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_text_setting_of_every_command_takes_any_text(name):
    """No setting is left out: its type says how it is read."""
    text = "l'été (1)/[x] #${y}=1,2 ~"
    kinds = dict(keys.settings(schema_of(name)))
    taken = {key: kind for key, kind in kinds.items() if kind not in (keys.Kind.OTHER,)}
    assert taken
    words = []
    for key, kind in taken.items():
        if kind in (keys.Kind.TEXT, keys.Kind.ANY, keys.Kind.NUMERIC, keys.Kind.WEIGHTS):
            words.append(f"{key}={text}")
        elif kind is keys.Kind.TEXT_DICT:
            words.append(f"{key}.a={text}")
    cfg = composed(name, words)
    for word in words:
        assert OmegaConf.select(cfg, word.partition("=")[0]) == text, word


# What the documentation and the help show -----------------------------------------------------

KEY = r"\+{0,2}[a-z_]+(?:\.[a-z_]+)*"
CALL = r"\w+\((?:[^()]|\([^()]*\))*\)"
WORD = re.compile(rf"(?<![\w./-]){KEY}=(?:'[^']*'|{CALL}|\[[^\]]*\]|\{{[^}}]*\}}|[^\s`'\[\{{;)]*)")
PLACEHOLDER = re.compile(r"<[^>]*>|…")


def documents():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown():
    """Where, command or None, key=value: of every example in the docs' code and in the help."""
    for path in documents():
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```(?!py)\w*\n(.*?)^```", text, re.M | re.S)
        rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
        for line in [*"\n".join(blocks).splitlines(), *re.findall(r"`([^`]+)`", rest)]:
            code = re.sub(r"(^| )#.*", "", line)
            found = re.search(r"geoseg[. ]([a-z_]+)", code)
            name = found[1] if found and found[1] in SCHEMAS else None
            for word in WORD.findall(code):
                yield path.name, name, word
    for name in SCHEMAS:
        for word in WORD.findall(help.help_text(name, "", schema.sections(schema_of(name)))):
            yield f"{name} --help", None, word


def alternatives(word):
    """unet|fpn means one of them, <folder> any text, … nothing more."""
    key, _, value = word.partition("=")
    value = value.strip("'") if not re.search(r"[ (]", value) else value
    value = re.sub(r",? ?…", "", PLACEHOLDER.sub("x", value) if "<" in value else value)
    if "|" in value and "(" not in value:
        return [f"{key}={part}" for part in value.split("|") if part]
    return [f"{key}={value.rstrip('.,:')}"] if value else []


@cache
def known_of(name):
    """Key and kind of each setting of a command; finding them takes a while."""
    return dict(keys.settings(schema_of(name)))


@cache
def commands_of(key):
    """Commands that have a key as a setting, an entry of one, or a group."""
    key = key.lstrip("+")
    found = []
    for name in SCHEMAS:
        known = known_of(name)
        rooms = {part.partition(".")[0] for part in known if "." in part}
        group = key in GROUPS and (key in rooms or (key == "experiment" and name in OF_EXPERIMENT))
        entry = any(key.startswith(f"{k}.") for k, v in known.items() if v in keys.DICTS)
        if key in known or entry or group:
            found.append(name)
    return found


OF_EXPERIMENT = ("train", "crossvalidate")
NOT_OURS = re.compile(
    r"hydra|key=|python=|file|head|direction|n_jobs|sampler|n_trials|storage|study_name|wandb|[A-Z]"
)


def test_every_documented_form_of_every_key_is_taken():
    seen, strange = {}, []
    for where, name, word in shown():
        for form in alternatives(word):
            key = form.partition("=")[0]
            if NOT_OURS.match(form):
                continue
            names = [name] if name else commands_of(key)[:1]
            if not names:
                strange.append(f"{where}: {form}: no command has this key")
                continue
            seen.setdefault(names[0], {}).setdefault(key, {})[form] = where
    assert not strange
    assert sum(len(forms) for by_key in seen.values() for forms in by_key.values()) > 120
    for name, by_key in seen.items():
        # All at once, for composing takes a while: each value is checked when it is set, whatever
        # is set after it. Only of a group no command takes two.
        groups = [list(forms) for key, forms in by_key.items() if key in GROUPS]
        others = [form for key, forms in by_key.items() if key not in GROUPS for form in forms]
        for turn, chosen in enumerate(zip_longest(*groups, fillvalue="")):
            told_words(name, [*filter(None, chosen), *(others if turn == 0 else ())])


def told_words(name, words):
    plain = [w for w in words if "," not in w or "[" in w or "{" in w]
    swept = [w for w in words if w not in plain]
    OmegaConf.to_container(composed(name, plain))
    made = keys.for_hydra(swept, schema_of(name), sweeps=True)
    OverridesParser.create().parse_overrides(made.words)
