"""The platform's stand-in, for every test of a whole worker."""

import pytest

from local.runpod_platform import Platform


@pytest.fixture
async def platform():
    async with Platform() as stand_in:
        yield stand_in
