"""Several sinks as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import methodcaller
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

from numpy.typing import ArrayLike

from ..notices import Notices, kind_of
from ..render import Encoded
from .base import Domain, Layout, PRCounts, RunStatus, Scalar, Sink

__all__ = ["Sinks"]

_T = TypeVar("_T")

# One per sink, since several monitors share it and each message is shown once.
_notices: WeakKeyDictionary[Sink, Notices] = WeakKeyDictionary()


class Sinks(Sink):
    """Writes to each of several sinks; false if empty.

    A failing sink costs one warning and does not affect the others. It is called again the next
    time, when the disk may have space again. A pickled or deep copy is empty until it is set up
    for a run.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._all = tuple(sinks)

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Sink]:
        return iter(self._all)

    def __reduce__(self) -> tuple[type[Sinks], tuple[()]]:
        return (Sinks, ())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """See :class:`Sink`."""
        if values:
            self._each("scalars", lambda sink: sink.scalars(values, step))

    def image(self, tag: str, picture: Encoded, step: int) -> None:
        """See :class:`Sink`."""
        self._each("a picture", lambda sink: sink.image(tag, picture, step))

    def histogram(self, tag: str, counts: ArrayLike, edges: ArrayLike, step: int) -> None:
        """See :class:`Sink`."""
        self._each("a histogram", lambda sink: sink.histogram(tag, counts, edges, step))

    def pr_curve(self, tag: str, counts: PRCounts, step: int) -> None:
        """See :class:`Sink`."""
        self._each("a curve", lambda sink: sink.pr_curve(tag, counts, step))

    def text(self, tag: str, text: str, step: int) -> None:
        """See :class:`Sink`."""
        self._each("a text", lambda sink: sink.text(tag, text, step))

    def table(self, tag: str, columns: Mapping[str, Sequence[object]], step: int) -> None:
        """See :class:`Sink`."""
        self._each("a table", lambda sink: sink.table(tag, columns, step))

    def tags(self) -> set[str]:
        """See :class:`Sink`."""
        return set().union(*self._each("tags", lambda sink: sink.tags()))

    def layout(self, layout: Layout) -> None:
        """See :class:`Sink`."""
        self._each("the layout", lambda sink: sink.layout(layout))

    def own_hparams(self) -> None:
        """See :class:`Sink`."""
        self._each("hyperparameters", lambda sink: sink.own_hparams())

    def hparams(self, values: Mapping[str, Scalar], *, group: str | None = None) -> None:
        """See :class:`Sink`."""
        self._each("hyperparameters", lambda sink: sink.hparams(values, group=group))

    def columns(
        self,
        domains: Mapping[str, Domain | None],
        metrics: Mapping[str, str],
        *,
        first: Sequence[str] = (),
    ) -> None:
        """See :class:`Sink`."""
        self._each("columns", lambda sink: sink.columns(domains, metrics, first=first))

    def artifact(self, path: Path) -> None:
        """See :class:`Sink`."""
        self._each("a file", lambda sink: sink.artifact(path))

    @property
    def keeps_artifacts(self) -> bool:
        """Whether any of the sinks stores files."""
        return any(type(sink).artifact is not Sink.artifact for sink in self._all)

    def resume(self, step: int) -> None:
        """See :class:`Sink`."""
        self._each("a resumed run", lambda sink: sink.resume(step))

    def begin_fit(self) -> None:
        """See :class:`Sink`."""
        for sink in self._all:
            if sink in _notices:
                _notices[sink].clear()
        self._each("a run", lambda sink: sink.begin_fit())

    def identities(self) -> dict[str, str | None]:
        """Return the run's identity in each sink, for :meth:`adopt_all` in a later process."""
        found = self._each("identities", lambda sink: (sink, sink.identity()))
        identities = dict(found)
        return {name: identities.get(sink) for name, sink in self._named().items()}

    def adopt_all(self, identities: Mapping[str, str | None]) -> None:
        """Continue the run of an earlier process, whose loggers may have had another order.

        Args:
            identities: Result of :meth:`identities` in that process.
        """
        for name, sink in self._named().items():
            identity = identities.get(name)
            if identity is not None:
                self._call("a resumed run", sink, methodcaller("adopt", identity))

    def flush(self, *, wait: bool = False) -> None:
        """See :class:`Sink`."""
        self._each("what was written", lambda sink: sink.flush(wait=True) if wait else sink.flush())

    def finish(self, status: RunStatus) -> None:
        """See :class:`Sink`."""
        self._each("the end of a run", lambda sink: sink.finish(status))

    def _named(self) -> dict[str, Sink]:
        """Map names to sinks: the class name and an index among sinks of that class."""
        kinds = [type(sink).__name__ for sink in self._all]
        return {
            f"{kind} {kinds[:index].count(kind)}": self._all[index]
            for index, kind in enumerate(kinds)
        }

    def _each(self, what: str, call: Callable[[Sink], _T]) -> list[_T]:
        """Return the results of the sinks that did not fail."""
        return [result for sink in self._all for result in self._call(what, sink, call)]

    def _call(self, what: str, sink: Sink, call: Callable[[Sink], _T]) -> list[_T]:
        """Return the result, or an empty list after an error."""
        try:
            return [call(sink)]
        except Exception as error:
            _notices.setdefault(sink, Notices(type(sink).__name__)).warn(
                kind_of(error),
                f"{what} could not be written, training continues and later writes are attempted: "
                f"{type(error).__name__}: {error}",
            )
            return []
