import numpy as np
import pytest

from infimix.report import write_report
from infimix.report.run_directory import read_run_directory


@pytest.mark.parametrize("file", ["config.json", "metrics.json"])
def test_a_required_file_that_is_missing_is_named(make_run, file):
    run_dir = make_run()
    (run_dir / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"^A report needs {file} but .*{file} does not"):
        write_report(run_dir)


def test_a_directory_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no directory"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("config.json", b"{", "Expecting property name"),
        ("config.json", b"[]", "must hold a JSON object, not list"),
        ("metrics.json", b"\xff\xfe{}", "codec can't decode"),
        ("metrics.json", b"{}", "'data' is missing"),
        ("history.jsonl", b'{"epoch": 0, "phase": "joint"}\n{"epo', "line 2"),
        ("history.jsonl", b"3\n", "line 1"),
        ("summary.npz", b"PK\x03\x04 cut off", "cut off"),
        ("summary.npz", b"", "cut off"),
    ],
)
def test_a_damaged_file_is_named(make_run, file, content, why):
    run_dir = make_run()
    (run_dir / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file} is damaged \(.*{why}.*; fit again"):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_arrays_whose_bytes_have_changed_are_named(make_run):
    run_dir = make_run()
    content = bytearray((run_dir / "summary.npz").read_bytes())
    content[300] ^= 255  # inside the first array
    (run_dir / "summary.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"summary.npz is damaged \(Bad CRC-32"):
        write_report(run_dir)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"samples": None}, "the array 'samples' is missing"),
        ({"shown_x": None}, "the array 'shown_x' is missing"),
        ({"confidence": np.zeros(7)}, "'confidence' has 7 entries in place of 30"),
        ({"label": np.zeros(7)}, "'label' has 7 entries in place of 30"),
        ({"leaf_mean": np.zeros((2, 4))}, "'leaf_mean' has 2 entries in place of 3"),
        ({"typical": np.zeros((3, 2))}, "'typical' has 3 entries in place of 5"),
        ({"component": np.full(30, 3)}, "an entry of 'component' is not below 3"),
        ({"image_shape": np.array([5, 5])}, "the array 'picture' is missing"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(make_run, arrays, why):
    with pytest.raises(ValueError, match=rf"summary.npz is damaged \(.*{why}"):
        write_report(make_run(arrays=arrays))


def test_images_must_have_the_shape_that_is_said(make_run):
    run_dir = make_run(is_image=True, arrays={"image_shape": np.array([5, 5])})
    with pytest.raises(ValueError, match=r"damaged \(rows are no images of shape"):
        write_report(run_dir)


def test_a_run_of_an_earlier_infimix_serves_all_but_the_report(make_run):
    run_dir = make_run(arrays={"leaf": None, "image_shape": np.array([2, 2])})
    (run_dir / "report.html").write_text("old")
    with pytest.raises(ValueError, match=r"summary.npz is of an earlier infimix .* fit again"):
        write_report(run_dir)
    assert (run_dir / "report.html").read_text() == "old"
    assert read_run_directory(run_dir).summary["image_shape"].tolist() == [2, 2]


def test_weights_and_sizes_must_be_those_of_the_components(make_run):
    with pytest.raises(ValueError, match="2 weights for 3 components"):
        write_report(make_run(weights=[0.5, 0.5]))
