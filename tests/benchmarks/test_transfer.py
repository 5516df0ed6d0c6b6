"""The transfer benchmark: what is compared, how it goes on after a stop, and its table."""

import json

from benchmarks.transfer import Job, done, jobs, score_of, table


def line(name: str, value: float, **more) -> dict:
    known = {"set": "buildings", "variant": "lite0", "share": 0.05, "limit": "6 steps of 4"}
    return {"name": name, **known, "iou": {"other": 0.9, "building": value}, "miou": 0.5} | more


def test_each_variant_has_one_from_scratch_beside_it():
    made = list(jobs((0, 1)))
    assert len({job.name for job in made}) == len(made)
    for one in made:
        if one.variant in ("lite0", "csmask"):
            (other,) = [j for j in made if (j.set, j.share, j.seed, j.variant)
                        == (one.set, one.share, one.seed, "scratch")]  # fmt: skip
            # The same network but for its weights.
            assert set(other.extra) < set(one.extra)
        if one.plain:
            assert one.set == "buildings"
            assert one.extra in ((), ("lite0",))


def test_what_is_adapted_is_a_training_that_is_there_anyway():
    made = list(jobs((0,)))
    for job in made:
        if job.adapted is not None:
            (trained,) = [j for j in made if j.run == job.run and j.adapted is None]
            assert trained.extra == job.extra
            assert made.index(trained) < made.index(job)
        else:
            assert job.run == job.name


def test_it_goes_on_behind_the_last_whole_line(tmp_path):
    path = tmp_path / "results.jsonl"
    assert done(path, "6 steps of 4") == {}
    whole = json.dumps(line("a", 0.1)) + "\n" + json.dumps(line("b", 0.2, limit="other")) + "\n"
    path.write_text(whole + json.dumps(line("c", 0.3))[:20], encoding="utf-8")
    assert list(done(path, "6 steps of 4")) == ["a"]
    assert path.read_text(encoding="utf-8") == whole


def test_the_table_gives_means_and_how_many_seeds():
    rows = table([line("a", 0.4), line("b", 0.5), line("c", 0.3, variant="scratch")]).splitlines()
    assert rows[2:] == [
        "| buildings | 5% | lite0 | 0.450 ± 0.071 | 2 |",
        "| buildings | 5% | scratch | 0.300 | 1 |",
    ]
    assert score_of(line("d", 0, iou={"forest": 0.7})) == 0.5


def test_names_of_runs_are_names_of_folders():
    assert Job("place", "plain", 1.0, 2, ()).run == "place_plain_1_2"
