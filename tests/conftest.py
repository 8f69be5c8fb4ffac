"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of local copies of the published data, from INFIMIX_DATA; must be there in CI."""
    folder = os.environ.get("INFIMIX_DATA")
    if folder:
        return Path(folder)
    message = "INFIMIX_DATA does not name a folder with the published data"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
