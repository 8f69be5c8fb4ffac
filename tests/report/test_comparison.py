"""Runs side by side: groups of the same rows, agreement against scikit-learn, what is left out."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from infimix.report import compare, write_comparison
from infimix.training import save_tensors


@pytest.fixture
def runs(make_run, tmp_path_factory):
    """Function that writes a run directory runs/NAME; `fitted` and `params` go into its config."""
    folder = tmp_path_factory.mktemp("runs")

    def write(name, params=(), fitted=(), labels=None, **content):
        made = make_run(**{"checksum": "0123abcd", **content})
        config = json.loads((made / "config.json").read_text())
        config["params"] |= dict(params)
        config["fitted"] = {"likelihood": "normal", **dict(fitted)}
        (made / "config.json").write_text(json.dumps(config))
        target = folder / name
        target.mkdir()
        for file in ("config.json", "metrics.json", "summary.npz", "history.jsonl"):
            shutil.move(made / file, target / file)
        labels = np.arange(30) % 3 if labels is None else labels
        save_tensors(target / "weights.safetensors", {"labels": torch.tensor(labels)}, {})
        return target

    return write


def test_clusters_of_the_same_rows_agree_as_scikit_learn_says(runs):
    other = np.arange(30) // 10
    a, b = runs("a"), runs("b", labels=other)
    (group,) = compare([a, b]).groups
    expected = adjusted_rand_score(np.arange(30) % 3, other)
    assert group.ari == [[1.0, pytest.approx(expected)], [pytest.approx(expected), 1.0]]
    nmi = normalized_mutual_info_score(np.arange(30) % 3, other)
    assert group.nmi[0][1] == pytest.approx(nmi)
    assert group.title == "digits: 30 rows, 4 features"


def test_of_three_runs_the_one_most_like_the_others_is_told(runs):
    labels = [np.arange(30) % 3, (np.arange(30) % 3).clip(max=1), np.arange(30) // 10]
    paths = [runs(name, labels=each) for name, each in zip("abc", labels, strict=True)]
    (group,) = compare([*paths, runs("d", finds_clusters=False)]).groups
    column = next(c for c in group.columns if c.name == "NMI with the others")
    nmi = [[normalized_mutual_info_score(a, b) for b in labels] for a in labels]
    expected = [(nmi[0][1] + nmi[0][2]) / 2, (nmi[1][0] + nmi[1][2]) / 2]
    np.testing.assert_allclose(column.values[:2], expected)
    assert column.values[3] is None
    assert column.is_best_high
    (group,) = compare(paths[:2]).groups
    assert all(c.name != "NMI with the others" for c in group.columns)


def test_runs_of_other_rows_are_not_compared(runs):
    paths = [runs("a"), runs("b"), runs("c", checksum="ffffffff", data="wine")]
    comparison = compare(paths)
    assert [group.runs for group in comparison.groups] == [[1, 2], [3]]
    assert comparison.groups[1].ari == []
    page = write_comparison(comparison, paths[0].parent / "page.html").read_text("utf-8")
    assert "on 2 different data sets" in page
    assert page.count("<caption>ARI</caption>") == 1


def test_runs_without_a_checksum_are_taken_by_their_name(runs):
    paths = [runs(name, checksum=checksum, data=data) for name, checksum, data in (
        ("a", None, "wine"), ("b", None, "wine"), ("c", None, "digits"))]  # fmt: skip
    for path in paths:
        metrics = json.loads((path / "metrics.json").read_text())
        del metrics["checksum"]
        (path / "metrics.json").write_text(json.dumps(metrics))
    first, second = compare(paths).groups
    assert (first.runs, second.runs) == ([1, 2], [3])
    assert "earlier infimix" in first.notes[0]
    assert second.notes == []


def test_numbers_of_runs_stand_side_by_side(runs):
    scores = {"test": {"nmi": 0.5, "accuracy": 0.75, "ari": 0.25}}
    likelihood = {"digits test": {"log_likelihood": -18.5, "at": {}}}
    a = runs("a", scores=scores, log_likelihood=likelihood, seconds=60.25)
    b = runs("b", n_components=4, lower_bound=-18.0)
    (group,) = compare([a, b]).groups
    columns = {column.name: column.values for column in group.columns}
    assert columns == {
        "K": [3, 4],
        "bound, nats/row": [-19.75, -18.0],
        "log p(x) of digits test, nats/row": [-18.5, None],
        "NMI, test": [0.5, None],
        "ACC, test": [0.75, None],
        "ARI, test": [0.25, None],
        "time": [60.25, 75.2],
    }
    page = write_comparison(compare([a, b]), a.parent / "page.html").read_text("utf-8")
    assert "<b>−18.000</b>" in page, "the better bound"
    assert "<b>0.500</b>" not in page, "there is nothing to be better than"


def test_bounds_of_different_likelihoods_have_no_best(runs):
    a, b = runs("a"), runs("b", fitted={"likelihood": "bernoulli"}, lower_bound=-3.0)
    (group,) = compare([a, b]).groups
    assert "a bernoulli likelihood and a density measure different things" in group.notes[0]
    assert not next(c for c in group.columns if c.name.startswith("bound")).is_best_high
    assert "<b>" not in write_comparison(compare([a, b]), a.parent / "p.html").read_text("utf-8")


def test_models_without_clusters_are_not_in_the_agreement(runs):
    paths = [runs("a"), runs("b", finds_clusters=False), runs("c")]
    (group,) = compare(paths).groups
    assert (group.clustered, len(group.ari)) == ([1, 3], 2)


def test_settings_that_differ_are_listed(runs):
    a = runs("a", params={"n_latent": 3, "run_dir": "a", "only_here": 1})
    b = runs("b", params={"n_latent": 8, "run_dir": "b"})
    stage = b / "autoencoder"
    stage.mkdir()
    (stage / "config.json").write_text(json.dumps({"params": {"n_latent": 5}}))
    c = runs("c", params={"n_latent": 3})
    assert compare([a, b, c]).settings == [("n_latent", ["3", "8", "3"])]


def test_what_is_no_finished_run_is_left_out_with_its_reason(runs):
    a, b, bad, bare = runs("a"), runs("b"), runs("bad"), runs("bare")
    (bad / "metrics.json").write_text("{")
    (bare / "weights.safetensors").unlink()
    half, empty, file = (a.parent / name for name in ("half", "empty", "notes.txt"))
    (half / "checkpoints").mkdir(parents=True)
    empty.mkdir()
    file.write_text("")
    comparison = compare([a, half, empty, file, bad, bare, b, a])
    assert [run.path for run in comparison.runs] == [a, b], "a once"
    reasons = ["its fit is not finished", "not a run directory", "is a file", "damaged", "missing"]
    for text, words in zip(comparison.left_out, reasons, strict=True):
        assert words in text


def test_a_comparison_needs_two_runs(runs):
    a = runs("a")
    with pytest.raises(ValueError, match=re.escape(f"got one, {a}: infimix report shows it")):
        compare([a, a])
    with pytest.raises(ValueError, match="needs two finished runs or more and got none"):
        compare([a.parent])
    with pytest.raises(FileNotFoundError, match=r"There is no .*nowhere; name run directories"):
        compare([a, a.parent / "nowhere"])


def test_the_page_is_whole_and_links_to_the_reports(runs, tmp_path):
    a, b = runs("a & <b>"), runs("b")
    (a / "report.html").write_text("x")
    page = tmp_path / "deep" / "page.html"
    assert write_comparison(compare([a, b]), page) == page
    text = page.read_text("utf-8")
    assert "//" not in text, "no address of a network"
    assert "<script" not in text
    assert "a &amp; &lt;b&gt;" in text
    (link,) = re.findall(r'href="([^"]+report\.html)"', text)
    assert link.endswith("/a%20%26%20%3Cb%3E/report.html")
    assert link.startswith("../../")
