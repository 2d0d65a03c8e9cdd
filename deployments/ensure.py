"""Deploy, unless Prefect has the work pool and all deployments as this code makes them.

To ask costs a tenth of a deployment, most of which is the import of Prefect and of the flows.
"""

import asyncio
import sys

from deployments.registry import DEPLOYED, DEPLOYMENT, POOL
from deployments.version import code_version
from nexus_hub.errors import HubError
from nexus_hub.orchestration.prefect_client import PrefectClient, prefect_auth
from nexus_hub.settings import Settings, load


async def is_deployed(settings: Settings) -> bool:
    """Compare what Prefect has with the version of the code.

    Raises:
        PrefectUnavailable: Prefect does not answer.
    """
    version = code_version()
    async with PrefectClient(settings.prefect_url, prefect_auth(settings)) as prefect:
        return await prefect.deployments(POOL) >= {(DEPLOYMENT, one.entrypoint, version) for one in DEPLOYED}


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
