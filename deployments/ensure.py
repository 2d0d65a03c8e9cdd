"""Deploy, unless Prefect has the work pool and all deployments as this code makes them, or as a later release does.

To ask costs a tenth of a deployment, most of which is the import of Prefect and of the flows.
"""

import asyncio
import sys

from deployments.registry import DEPLOYED, POOL
from deployments.version import code_version, find_later_release
from nexus_hub.errors import HubError
from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth
from nexus_hub.settings import Settings, load


async def is_deployed(settings: Settings) -> bool:
    """Compare what Prefect has with the version of the code.

    What a later release has deployed stays: a hub of two releases would else deploy in turns. `nexus-hub deploy` puts
    this release's in its place.

    Raises:
        PrefectUnavailable: Prefect does not answer.
    """
    version = code_version()
    async with PrefectClient(settings.prefect_url, prefect_auth(settings)) as prefect:
        found = await prefect.deployments(POOL)
    if later := find_later_release(version for _, _, version in found):
        sys.stderr.write(f"The deployments of nexus-hub {later}, a later release, are left as they are.\n")
        return True
    return found >= {(one.name, one.entrypoint, version) for one in DEPLOYED}


def main() -> None:
    """Run `deploy` if it is needed."""
    try:
        deployed = asyncio.run(is_deployed(load()))
    except HubError as error:
        sys.exit(error.message)
    if not deployed:
        from deployments.deploy import main as deploy

        deploy()


if __name__ == "__main__":
    main()
