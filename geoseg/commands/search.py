"""Ask Optuna for the settings of the next trainings of a sweep."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from geoseg.errors import InputError

MODULE = "hydra_plugins.geoseg"
"""Hydra takes sweepers from a package of this name only."""
RESULTS = "optimization_results.yaml"
SAMPLERS = ("tpe", "random")


@dataclass
class Sampler:
    """How the next settings are chosen."""

    name: str = "tpe"
    """tpe (Tree-structured Parzen Estimator, Bergstra et al. 2011), or random."""
    seed: int | None = None
    """The same search asks for the same trials."""


@dataclass
class SearchConfig:
    """What hydra/sweeper=optuna takes as hydra.sweeper.<key>."""

    _target_: str = f"{MODULE}.Search"
    n_trials: int = 20
    """Trainings."""
    n_jobs: int = 1
    """Of them at once, with a launcher that can; each learns from all that ended before it."""
    direction: str = "maximize"
    """Of the validation mIoU."""
    storage: str | None = None
    """Database of a study that goes on in the next search, as sqlite:///search.db."""
    study_name: str | None = None
    """In the database."""
    max_failure_rate: float = 0.0
    """Share of the trainings of a batch that may fail."""
    sampler: Sampler = field(default_factory=Sampler)
    params: dict[str, str] | None = None
    """Values to try, as on the command line: for the file of an experiment."""


def register() -> None:
    """Make hydra/sweeper=optuna known, if Optuna is installed."""
    if find_spec("optuna") is None:
        return
    # Hydra looks the class up by its name, too.
    sys.modules.setdefault(MODULE, sys.modules[__name__])
    plugins = Plugins.instance()  # registers the plugins of others, one of the same name too
    if f"{MODULE}.Search" not in plugins.class_name_to_class:
        plugins.register(Search)
    store = ConfigStore.instance()
    store.store("optuna", SearchConfig, group="hydra/sweeper", provider="geoseg")


class Search(Sweeper):
    """Runs trainings in batches, each with the settings that Optuna finds most promising."""

    def __init__(self, **settings: Any) -> None:
        known = {name: value for name, value in settings.items() if name != "sampler"}
        self._settings = SearchConfig(**known)
        self._sampler = Sampler(**(settings.get("sampler") or {}))
        if self._sampler.name not in SAMPLERS:
            raise InputError(
                f"hydra.sweeper.sampler.name={self._sampler.name}: choose from"
                f" {', '.join(SAMPLERS)}"
            )

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run all trials. Raises: what a training raises, if more fail than may."""
        optuna = import_module("optuna")
        assert self.config is not None
        assert self.hydra_context is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        given = [f"{key}={value}" for key, value in (self._settings.params or {}).items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*given, *arguments])
        spaces = {o.get_key_element(): space(o) for o in overrides if o.is_sweep_override()}
        fixed = {
            o.get_key_element(): o.get_value_element_as_str()
            for o in overrides
            if o.get_key_element() not in spaces
        }
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        study = optuna.create_study(
            sampler=kinds[self._sampler.name](seed=self._sampler.seed),
            direction=self._settings.direction,
            storage=self._settings.storage,
            study_name=self._settings.study_name,
            load_if_exists=True,
        )
        for start in range(0, self._settings.n_trials, self._settings.n_jobs):
            count = min(self._settings.n_jobs, self._settings.n_trials - start)
            trials = [study.ask(spaces) for _ in range(count)]
            self._batch(study, trials, fixed, start)
        found = {
            "name": "optuna",
            "best_params": dict(study.best_params),
            "best_value": study.best_value,
        }
        OmegaConf.save(OmegaConf.create(found), folder / RESULTS)

    def _batch(self, study: Any, trials: Sequence[Any], fixed: dict[str, str], start: int) -> None:
        """Run trials at once and tell the study what came out."""
        assert self.launcher is not None
        jobs = [
            [f"{key}={value}" for key, value in (fixed | trial.params).items()] for trial in trials
        ]
        self.validate_batch_is_legal(jobs)
        faults: list[Exception] = []
        results = self.launcher.launch(jobs, initial_job_idx=start)
        for trial, result in zip(trials, results, strict=True):
            try:
                score = result.return_value
                if score is None or math.isnan(score):
                    raise InputError("no validation, and so no score to search by")
                study.tell(trial, float(score))
            except Exception as error:  # whatever a training ends with; it is raised below
                study.tell(trial, state=_failed())
                faults.append(error)
        if len(faults) > self._settings.max_failure_rate * len(trials):
            raise faults[0]


Search.__module__ = MODULE


def _failed() -> Any:
    return import_module("optuna.trial").TrialState.FAIL


def space(override: Override) -> Any:
    """What Optuna may choose from: choice, range or interval, tag(log, …) for a logarithmic one."""
    kinds = import_module("optuna.distributions")
    value = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return kinds.IntDistribution(value.start, value.end, log=log)
        return kinds.FloatDistribution(float(value.start), float(value.end), log=log)
    assert isinstance(value, ChoiceSweep | RangeSweep)
    return kinds.CategoricalDistribution(list(override.sweep_iterator(Transformer.encode)))
