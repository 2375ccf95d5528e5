"""``report.html``: what a run did, in one file."""

from janus_training.report.page import write_report

__all__ = ["write_report"]
