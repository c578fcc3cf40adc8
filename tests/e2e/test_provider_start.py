"""What a provider says when it starts into something that is set up wrong."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local_mesh import LocalMesh
from deploy.seeding import seed


async def warnings_of(mesh: LocalMesh, key: str, *, count: int) -> list[dict[str, str]]:
    """The warnings of a provider of every service, with no options set; at least so many, if they come."""
    provider = mesh.add_provider(key=key)
    await provider.start()
    for _ in range(40):
        await asyncio.sleep(0.05)
        lines = [json.loads(line) for line in provider.log_path.read_text().splitlines()]
        warnings = [line for line in lines if line["level"] == "warning"]
        if len(warnings) >= count:
            break
    assert await provider.stop() == 0
    return warnings


async def test_what_is_set_up_wrong_at_the_broker_is_told_at_the_start(tmp_path: Path) -> None:
    async with LocalMesh(tmp_path) as mesh:
        operator_key = await mesh.initialize()
        await mesh.broker.start()
        assert operator_key is not None
        unpublished = await warnings_of(mesh, operator_key, count=2)
        assert {warning["event"] for warning in unpublished} == {"provider.service_not_published"}
        assert [warning["service"] for warning in unpublished] == ["completion", "sms"]
        told = unpublished[1]["publish_with"]
        assert told == "iap provider service sms --title 'Text messages' --unit-name segment"
        (refused,) = await warnings_of(mesh, "iap_prov_no_such_key", count=1)
        assert (refused["event"], refused["reason"]) == ("provider.broker_refuses", "CREDENTIALS_INVALID")
        seeded = await seed(mesh.broker.address, operator_key=operator_key)
        # Of what is sold here, that is texts only.
        (unpublished_still,) = await warnings_of(mesh, seeded.provider_key, count=1)
        assert unpublished_still["service"] == "completion"


@pytest.mark.parametrize(("package", "extra"), [("broker_service", "broker"), ("provider_service", "provider")])
def test_a_bare_install_says_what_it_lacks(package: str, extra: str) -> None:
    """The module is hidden, as if only what callers need were installed."""
    code = f"import sys\nsys.modules['protovalidate'] = None\nfrom {package}.__main__ import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"iap-mesh[{extra}]" in done.stderr
