"""`python -m nexus_hub`."""

from nexus_hub.cli.main import main

main()
