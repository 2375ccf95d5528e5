"""The longest file goes first, so that the other worker does the rest meanwhile."""

import pytest

LONGEST = "test_energy_conservation"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST not in item.nodeid)
