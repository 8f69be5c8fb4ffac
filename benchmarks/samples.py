"""Are new images of a component all of one digit? A classifier of real digits looks at them.

    infimix fit mnist --out runs/mnist
    python benchmarks/samples.py runs/mnist

A multilayer perceptron of scikit-learn is trained on the 60000 training rows and their labels. From
every component a thousand images are drawn; their digit is what it says. Printed are its error on
the 10000 test rows, and for each component the commonest digit among the images and its share,
beside that among the test rows of the component.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from lines import markdown
from sklearn.neural_network import MLPClassifier

import infimix
from infimix.data import load

N_SAMPLES = 1000


def commonest(digits: np.ndarray) -> tuple[int, float]:
    """The digit that most are, and the share that are."""
    counts = np.bincount(digits, minlength=10)
    return int(counts.argmax()), float(counts.max() / counts.sum())


def main() -> None:
    """Print a table and, last, its mean by the weights of the components."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory of infimix fit mnist")
    model: Any = infimix.load(parser.parse_args().run)
    train, test = load("mnist"), load("mnist", split="test")
    assert train.y is not None
    assert test.y is not None
    classifier = MLPClassifier((256,), early_stopping=True, random_state=0)
    classifier.fit(np.asarray(train.X, np.float32) / 255, train.y)
    error = 1 - classifier.score(np.asarray(test.X, np.float32) / 255, test.y)
    sys.stdout.write(f"error of the classifier on test rows: {error:.4f}\n")
    label, highest = model.predict(test.X), float(train.X.max())
    shares, rows = [], []
    for k, weight in enumerate(model.weights_):
        images, _ = model.sample(N_SAMPLES, component=k)
        digit, share = commonest(classifier.predict(images / highest))
        _, real = commonest(test.y[label == k])
        shares.append(share)
        rows.append([k, f"{weight:.3f}", digit, f"{share:.3f}", f"{real:.3f}"])
    head = ["component", "weight", "digit", "share of samples", "share of test rows"]
    sys.stdout.write(markdown(head, rows, n_text=0))
    summary = {"run": str(parser.parse_args().run), "share": float(model.weights_ @ shares)}
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
