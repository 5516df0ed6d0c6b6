"""The search by Optuna: what it asks for, what it learns, and how it ends."""

from types import SimpleNamespace

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from geoseg.commands import search
from geoseg.errors import InputError

pytest.importorskip("optuna", minversion="4")


class Launcher:
    """Runs jobs whose score is best at 1e-3; those with a rate in `bad` fail."""

    def __init__(self, bad=()):
        self.jobs, self.batches, self.bad = [], [], bad

    def launch(self, jobs, initial_job_idx):
        assert initial_job_idx == len(self.jobs)
        self.batches.append(len(jobs))
        return [self._run(job) for job in jobs]

    def _run(self, job):
        self.jobs.append(job)
        rate = float(dict(word.split("=") for word in job)["fit.learning_rate"])

        class Result:
            @property
            def return_value(inner):  # noqa: N805
                if len(self.jobs) in self.bad:
                    raise InputError("the loss is nan")
                return 1 - abs(rate - 1e-3)

        return Result()


def run(folder, *words, launcher=None, **settings):
    made = search.Search(**{"n_trials": 6, "sampler": {"seed": 0}} | settings)
    made.launcher = launcher or Launcher()
    made.hydra_context = SimpleNamespace(config_loader=None)
    made.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    made.validate_batch_is_legal = lambda jobs: None
    made.sweep(["fit.learning_rate=tag(log,interval(1e-4,1e-2))", "seed=3", *words])
    return made.launcher


def test_the_best_settings_are_found_and_written(tmp_path):
    launcher = run(tmp_path)
    assert len(launcher.jobs) == 6
    assert launcher.batches == [1] * 6
    assert all("seed=3" in job for job in launcher.jobs)
    rates = [float(job[-1].partition("=")[2]) for job in launcher.jobs]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    found = OmegaConf.load(tmp_path / search.RESULTS)
    best = min(rates, key=lambda rate: abs(rate - 1e-3))
    assert found.best_params == {"fit.learning_rate": best}
    assert found.best_value == pytest.approx(1 - abs(best - 1e-3))
    assert run(tmp_path).jobs == launcher.jobs  # the same seed, the same trials


def test_batches_and_values_of_an_experiment(tmp_path):
    launcher = run(tmp_path, n_jobs=4, params={"model": "unet,fpn"})
    assert launcher.batches == [4, 2]
    assert {word for job in launcher.jobs for word in job if "model" in word} <= {
        "model=unet",
        "model=fpn",
    }


def test_the_first_fault_ends_a_search_unless_some_may_fail(tmp_path):
    with pytest.raises(InputError, match="the loss is nan"):
        run(tmp_path, launcher=Launcher(bad={2}))
    launcher = run(tmp_path, launcher=Launcher(bad={2}), n_jobs=3, max_failure_rate=0.4)
    assert len(launcher.jobs) == 6


def test_a_study_in_a_database_goes_on(tmp_path):
    import optuna

    storage = f"sqlite:///{tmp_path / 'search.db'}"
    for _ in range(2):
        run(tmp_path, storage=storage, study_name="s", n_trials=2)
    assert len(optuna.load_study(study_name="s", storage=storage).trials) == 4


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        ("a=tag(log,interval(1e-4,1e-2))", "FloatDistribution", "log=True"),
        ("a=interval(0,1.5)", "FloatDistribution", "log=False"),
        ("a=int(interval(1,9))", "IntDistribution", "high=9"),
        ("a=range(0,9,3)", "CategoricalDistribution", "(0, 3, 6)"),
        ("a=unet,fpn", "CategoricalDistribution", "('unet', 'fpn')"),
        ("a=true,null", "CategoricalDistribution", "(True, 'null')"),
    ],
)
def test_what_may_be_chosen(word, kind, said):
    found = search.space(OverridesParser.create().parse_override(word))
    assert type(found).__name__ == kind
    assert said in str(found)


def test_hydra_finds_it():
    search.register()
    search.register()
    assert Plugins.instance().class_name_to_class["hydra_plugins.geoseg.Search"] is search.Search
    node = ConfigStore.instance().repo["hydra"]["sweeper"]["optuna.yaml"].node
    assert node._target_ == "hydra_plugins.geoseg.Search"
    with pytest.raises(InputError, match="choose from tpe, random"):
        search.Search(sampler={"name": "best"})
