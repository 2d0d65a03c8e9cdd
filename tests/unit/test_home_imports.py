"""The home's paths cost little to ask for, and stand in one room."""

import subprocess
import sys


def test_the_home_loads_nothing_large() -> None:
    script = (
        "import sys, nexus_hub.home.layout\n"
        "print({'pydantic', 'pydantic_settings', 'cryptography', 'prefect', 'psycopg'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
