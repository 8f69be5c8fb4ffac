"""Distributions: parameter tensors in, densities and expectations out, in nats."""
