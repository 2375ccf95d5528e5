"""Functions that tests run on several ranks at once."""
