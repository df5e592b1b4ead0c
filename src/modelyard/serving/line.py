"""The jobs that wait for a worker: highest priority first, then in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from modelyard.serving.batching.merging import kind_of, rows_of
from modelyard.serving.jobs import Job

MOST_LOOKED_AT = 256
"""Waiting jobs that are looked through for company."""

Choose = Callable[[int, int, int], int]


class Line:
    """Waiting jobs. Groups that must be called together, and alone, go before all others."""

    def __init__(self) -> None:
        self._classes: dict[int, deque[Job]] = {}
        self._groups: deque[tuple[Job, ...]] = deque()
        self.count = 0
        """As `len` tells."""
        self.bytes = 0
        """Of all inputs that wait."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Job]:
        for group in self._groups:
            yield from group
        for priority in sorted(self._classes):
            yield from self._classes[priority]

    def push(self, job: Job) -> None:
        """A job comes last of its class."""
        jobs = self._classes.get(job.priority)
        if jobs is None:
            jobs = self._class(job.priority)
        jobs.append(job)
        self.count += 1
        self.bytes += job.size if job.size >= 0 else job.weight

    def push_back(self, jobs: Iterable[Job]) -> None:
        """Jobs that were begun for nothing come first of their class again, in their order."""
        for job in reversed(list(jobs)):
            self._class(job.priority).appendleft(job)
            self._weigh(job, 1)

    def push_group(self, jobs: tuple[Job, ...]) -> None:
        """These jobs are called together, with no others, before everything else."""
        if jobs:
            self._groups.append(jobs)
            for job in jobs:
                self._weigh(job, 1)

    def remove(self, job: Job) -> None:
        """A job leaves."""
        self._keep(lambda other: other is not job)

    def drop_settled(self) -> None:
        """Jobs whose askers have their answer leave."""
        self._keep(lambda job: not job.settled)

    def empty(self) -> list[Job]:
        """Everything leaves."""
        everything = list(self)
        self._classes, self._groups = {}, deque()
        self.count = self.bytes = 0
        return everything

    @property
    def oldest(self) -> Job | None:
        """The job that is next."""
        if len(self._classes) == 1 and not self._groups:
            # Mostly there is one class.
            (jobs,) = self._classes.values()
            return jobs[0] if jobs else None
        return next(iter(self), None)

    @property
    def next_single(self) -> Job | None:
        """The job that is next, unless it belongs to a group."""
        return None if self._groups else self.oldest

    @property
    def next_is_suspect(self) -> bool:
        """Whether a worker died with the next job inside."""
        return bool(self._groups) and any(job.crashes for job in self._groups[0])

    def least(self, than: int) -> Job | None:
        """The youngest job of the lowest class below a priority; None when all are at least that high."""
        lower = [priority for priority, jobs in self._classes.items() if priority > than and jobs]
        return self._classes[max(lower)][-1] if lower else None

    def take(self, choose: Choose, most: int) -> tuple[Job, ...]:
        """The jobs of the next call leave; there is at least one.

        `choose(first, waiting, row_bytes)` says how many rows of about so many bytes the call may have, of
        `waiting` that go together and of which `first` must; `most` bounds what is looked at.
        """
        if self._groups:
            group = self._groups.popleft()
            for job in group:
                self._weigh(job, -1)
            return group
        if len(self._classes) == 1:
            (jobs,) = self._classes.values()
        else:
            jobs = self._classes[min(priority for priority, jobs in self._classes.items() if jobs)]
        first = jobs.popleft()
        taken = [first]
        if most > 1 and jobs and first.on_part is None and _rows(first):
            taken += self._mates(first, jobs, choose, most)
        self.count -= len(taken)
        self.bytes -= sum([job.size for job in taken])
        return tuple(taken)

    def _mates(self, first: Job, jobs: deque[Job], choose: Choose, most: int) -> list[Job]:
        kind = _kind(first)
        rows = waiting = _rows(first)
        fitting: list[tuple[Job, int]] = []
        for job in islice(jobs, MOST_LOOKED_AT):
            if waiting >= most:
                break
            size = job.rows if job.rows >= 0 else _rows(job)
            if size and job.on_part is None and ((job.kind or _kind(job)) is kind or job.kind == kind):
                fitting.append((job, size))
                waiting += size
        wanted = choose(rows, waiting, first.weight // rows) if fitting else rows
        mates: list[Job] = []
        for job, size in fitting:
            if rows + size > wanted:
                break
            mates.append(job)
            rows += size
        self._leave(jobs, mates)
        return mates

    @staticmethod
    def _leave(jobs: deque[Job], mates: list[Job]) -> None:
        for mate in mates:
            if jobs[0] is mate:
                jobs.popleft()
            else:
                jobs.remove(mate)

    def _keep(self, wanted: Callable[[Job], bool]) -> None:
        groups = [tuple(filter(wanted, group)) for group in self._groups]
        self._groups = deque(group for group in groups if group)
        for priority, jobs in self._classes.items():
            if not all(map(wanted, jobs)):
                self._classes[priority] = deque(filter(wanted, jobs))
        rest = list(self)
        self.count = len(rest)
        self.bytes = sum(job.weight for job in rest)

    def _class(self, priority: int) -> deque[Job]:
        jobs = self._classes.get(priority)
        if jobs is None:
            jobs = self._classes[priority] = deque()
        return jobs

    def _weigh(self, job: Job, sign: int) -> None:
        self.count += sign
        self.bytes += sign * job.weight


def _rows(job: Job) -> int:
    """How many rows it has; looked for once."""
    if job.rows < 0:
        job.rows = rows_of(job.inputs)
    return job.rows


def _kind(job: Job) -> object:
    if job.kind is None:
        job.kind = kind_of(job.inputs, job.parameters)
    return job.kind
