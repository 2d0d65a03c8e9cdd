"""The queue of a process: whose job is next, so that nobody waits for a stranger's flood."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from nexus_hub.fair_share import fits

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class PendingJob:
    """A job that waits, with its server and the user on whose behalf; None is the operator."""

    id: UUID
    server_id: str
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class Places:
    """Bounds of what a process has under way in shared runs.

    `user_share` is the part of the places that others leave which one user may take: of all, and of each server's.
    """

    in_all: int = 128
    per_server: int = 64
    user_share: float = 0.5


class _Owner:
    """The jobs of one user that wait, by server, the oldest first."""

    __slots__ = ("servers",)

    def __init__(self) -> None:
        self.servers: OrderedDict[str, OrderedDict[UUID, PendingJob]] = OrderedDict()


class FairQueue:
    """Jobs that nobody has taken yet. The next is of the user, and then for the server, with the least under way."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._owners: OrderedDict[UUID | None, _Owner] = OrderedDict()
        self._waiting: dict[UUID, PendingJob] = {}
        self._under_way: dict[UUID, PendingJob] = {}
        self._of_user: Counter[UUID | None] = Counter()
        self._of_server: Counter[str] = Counter()
        self._of_both: Counter[tuple[UUID | None, str]] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def count_of(self, user_id: UUID | None) -> int:
        """Count what waits on behalf of a user."""
        owner = self._owners.get(user_id)
        return sum(map(len, owner.servers.values())) if owner else 0

    def add(self, jobs: Iterable[PendingJob]) -> None:
        """Let these wait, behind those that do; one that waits already, or is under way, is not added again."""
        for job in jobs:
            if job.id not in self._waiting and job.id not in self._under_way:
                owner = self._owners.setdefault(job.user_id, _Owner())
                owner.servers.setdefault(job.server_id, OrderedDict())[job.id] = job
                self._waiting[job.id] = job

    def remove(self, job_id: UUID) -> None:
        """Forget a job that waits no more."""
        if (job := self._waiting.pop(job_id, None)) is not None:
            del self._owners[job.user_id].servers[job.server_id][job_id]
            self._drop_if_empty(job.user_id, job.server_id)

    def clear(self) -> None:
        """Forget all that waits; what is under way stays."""
        self._owners.clear()
        self._waiting.clear()

    def take(self, most: int) -> list[PendingJob]:
        """Take as many as may begin now; each counts as under way until `give_back`."""
        taken: list[PendingJob] = []
        while len(taken) < most and (found := self._choose()) is not None:
            user_id, server_id = found
            owner = self._owners[user_id]
            _, job = owner.servers[server_id].popitem(last=False)
            owner.servers.move_to_end(server_id)
            self._owners.move_to_end(user_id)
            self._drop_if_empty(user_id, server_id)
            del self._waiting[job.id]
            self._under_way[job.id] = job
            self._count(job, 1)
            taken.append(job)
        return taken

    def give_back(self, job_id: UUID) -> None:
        """Count it as under way no more."""
        self._count(self._under_way.pop(job_id), -1)

    def charge(self, job_id: UUID, user_id: UUID | None) -> None:
        """Count what is under way as this user's, whoever was said to have it."""
        job = self._under_way[job_id]
        if job.user_id != user_id:
            self._count(job, -1)
            self._under_way[job_id] = job = replace(job, user_id=user_id)
            self._count(job, 1)

    def drop(self, like: PendingJob) -> list[UUID]:
        """Forget what waits for the same server on behalf of the same user; give those jobs' ids."""
        owner = self._owners.get(like.user_id)
        jobs = owner.servers.get(like.server_id) if owner else None
        if not jobs:
            return []
        ids = list(jobs)
        jobs.clear()
        for job_id in ids:
            del self._waiting[job_id]
        self._drop_if_empty(like.user_id, like.server_id)
        return ids

    def _choose(self) -> tuple[UUID | None, str] | None:
        """Find the user and the server of the next job, if one may begin."""
        best: tuple[int, UUID | None, str] | None = None
        for user_id, owner in self._owners.items():
            under_way = self._of_user[user_id]
            if best is not None and under_way >= best[0]:
                continue
            if not self._fits(under_way, len(self._under_way), self._places.in_all):
                continue
            if (server_id := self._choose_server(user_id, owner)) is not None:
                best = under_way, user_id, server_id
                if not under_way:
                    break
        return None if best is None else (best[1], best[2])

    def _choose_server(self, user_id: UUID | None, owner: _Owner) -> str | None:
        fitting = [
            server_id
            for server_id in owner.servers
            if self._fits(self._of_both[user_id, server_id], self._of_server[server_id], self._places.per_server)
        ]
        return min(fitting, key=lambda server_id: self._of_both[user_id, server_id], default=None)

    def _fits(self, own: int, all_of_them: int, places: int) -> bool:
        return fits(own, all_of_them, places, self._places.user_share)

    def _count(self, job: PendingJob, step: int) -> None:
        _step(self._of_user, job.user_id, step)
        _step(self._of_server, job.server_id, step)
        _step(self._of_both, (job.user_id, job.server_id), step)

    def _drop_if_empty(self, user_id: UUID | None, server_id: str) -> None:
        owner = self._owners[user_id]
        if not owner.servers[server_id]:
            del owner.servers[server_id]
            if not owner.servers:
                del self._owners[user_id]


def _step(counter: Counter[K], key: K, step: int) -> None:
    """Count up or down, and forget what is at nothing: users come and go."""
    counter[key] += step
    if not counter[key]:
        del counter[key]
