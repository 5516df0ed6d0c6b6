"""The benchmark of few labels: what starts from what."""

from pathlib import Path

from benchmarks.little import METHODS, variants
from geoseg.training.config import PretrainConfig


def test_each_pretraining_has_a_variant_that_starts_from_it():
    made = variants(Path("out"), "[a.tif]")
    for name, method in METHODS.items():
        assert made[name] == (f"model.weights=out/{name}/encoder.safetensors",)
        assert PretrainConfig(method=method).method == method
    assert set(METHODS.values()) == {"reconstruct", "distil"}
    assert made["from scratch"] == ("model.weights=null",)
