"""What Kedro says of metrics, kept readable: a line per entry instead of one per yield, no warning of a spelling."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kedro_mlflow_metrics.process import filtered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["accept_spelling", "first_saves_only"]

log = logging.getLogger("kedro.mlflow_metrics")
_CATALOGS = ("kedro.io.data_catalog", "kedro.io.kedro_data_catalog")  # the second in Kedro 0.19
_MARKUP = re.compile(r"\[.*?\]")


def accept_spelling() -> None:
    """Keep Kedro from warning of ``DataSet`` in our type. Called late, this would show other warnings again."""
    warnings.filterwarnings("ignore", message=r".*Got 'kedro_mlflow_metrics\.")


@contextmanager
def first_saves_only(names: Collection[str]) -> Iterator[None]:
    """Let Kedro log the first save of each of these entries, and count the others; with level DEBUG all are shown."""
    saves: Counter[str] = Counter()

    def shown(record: logging.LogRecord) -> bool:
        name = _MARKUP.sub("", str(record.args[0])) if isinstance(record.args, tuple) and record.args else ""
        if name not in names or not str(record.msg).startswith("Saving data"):
            return True
        saves[name] += 1
        return saves[name] == 1

    loggers = [logger for logger in map(logging.getLogger, _CATALOGS) if not logger.isEnabledFor(logging.DEBUG)]
    with filtered(loggers, shown):
        yield
    for name, number in saves.items():
        if number > 1:
            log.info("Saved %s dicts to %s", f"{number:,}", name)
