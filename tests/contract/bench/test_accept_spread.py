"""How connections fall to processes is counted right."""

from bench.accept_spread import spread


async def test_every_connection_belongs_to_one_process():
    found = await spread(2, 40)
    assert len(found) == 2 and sum(found) == 40
