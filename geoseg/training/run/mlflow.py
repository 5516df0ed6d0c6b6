"""Log a training to MLflow."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""A training waits for its logger; MLflow's own patience is minutes, each epoch."""
EXPERIMENT = "geoseg"
LONGEST = 500
"""Characters of a parameter that all stores take."""
BATCH = 100
"""Parameters that a store takes at once."""


class MLflow:
    """Parameters, metrics by step, and pictures of one MLflow run.

    MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME count; without the first, the run is in the
    database <run>/mlruns/mlflow.db.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], run: str) -> None:
        """run: id of the one to go on with; a new one is made if it isn't there."""
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        # A training reports to whom it was told to, and to nobody else.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._fault = MlflowException
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            home = folder.absolute() / "mlruns"
            home.mkdir(parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{(home / 'mlflow.db').as_posix()}", home / "artifacts"
        self._client = MlflowClient(tracking_uri=uri)
        if run and self._goes_on(run):
            self.id = run
            self._client.update_run(run, status="RUNNING")
            return
        experiment = self._experiment(artifacts.as_uri() if artifacts else None)
        self.id = self._client.create_run(experiment, run_name=folder.absolute().name).info.run_id
        self._tell_settings(settings)

    def log(self, numbers: dict[str, float], pictures: dict[str, np.ndarray], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(_name(k), float(v), now, step) for k, v in numbers.items()]
        self._client.log_batch(self.id, metrics=metrics)
        for name, picture in pictures.items():
            key = re.sub(r"[^a-zA-Z0-9_\-./ ]", "_", name)
            self._client.log_image(self.id, picture, key=key, step=step)

    def close(self, *, well: bool) -> None:
        self._client.set_terminated(self.id, "FINISHED" if well else "FAILED")

    def _goes_on(self, run: str) -> bool:
        try:
            found = self._client.get_run(run)
        except self._fault as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return bool(found.info.lifecycle_stage == "active")

    def _experiment(self, artifacts: str | None) -> str:
        """Id of the experiment, made if need be."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=artifacts))
            except self._fault:  # another training may have been faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _tell_settings(self, settings: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(_name(k), str(v)[:LONGEST]) for k, v in flat(settings).items()]
        for start in range(0, len(params), BATCH):
            self._client.log_batch(self.id, params=params[start : start + BATCH])


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with the keys of the command line: fit.epochs."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _name(text: str) -> str:
    """What MLflow takes as the name of a metric or parameter; classes have any."""
    return re.sub(r"[^\w.\- /]", "_", text)
