"""Names of one request: each is looked up once, and only the last ones are kept in memory."""

from collections import Counter
from uuid import uuid4

from nexus_hub.jobs import submit
from nexus_hub.jobs.requests import JobRequest
from nexus_hub.jobs.submit import Resolved, Resolver
from nexus_hub.models import OPERATOR, ServerRef


class Counting(Resolver):
    """A resolver that counts its looks into the catalog, which holds everything."""

    def __init__(self) -> None:
        super().__init__(None, OPERATOR)  # type: ignore[arg-type]
        self.looks: Counter[str] = Counter()

    async def _find(self, request: JobRequest) -> Resolved:
        self.looks[request.name] += 1
        return Resolved(ServerRef("system", uuid4()))


async def test_a_name_that_comes_again_is_looked_up_once() -> None:
    resolver = Counting()
    found = [await resolver.resolve(JobRequest("tool_invoke", f"srv__{n % 7}")) for n in range(100)]
    assert set(resolver.looks.values()) == {1}
    assert len({ref for _, ref, _ in found}) == 7


async def test_of_many_names_the_last_ones_are_kept() -> None:
    resolver = Counting()
    for number in range(1000):
        await resolver.resolve(JobRequest("tool_invoke", f"srv__{number}"))
        assert len(resolver._known) <= submit.KEPT_NAMES
    await resolver.resolve(JobRequest("tool_invoke", "srv__999"))
    assert resolver.looks["srv__999"] == 1
