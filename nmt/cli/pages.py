"""The page of a report, for the commands that write one; it knows nothing of what is on it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nmt.inspect.report import Report
    from nmt.output import Writer


def opened(
    path: Path | None, inputs: Iterable[str | Path] = (), *, force: bool
) -> AbstractContextManager[Writer | None]:
    """Open a file for what comes later, if there is to be one: a wrong place is refused before anything is done."""
    from nmt.output import open_output

    return open_output(path, inputs, force=force) if path else nullcontext()


def write_page(report: Report, page: Writer | None) -> None:
    """Write the page, if there is to be one."""
    from nmt.inspect.reportpage import report_page

    if page:
        page.write(report_page(report).removesuffix("\n").split("\n"))
