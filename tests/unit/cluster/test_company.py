"""What the others hear of a worker's end."""

import types

import pytest

from cluster.company import Company

ALONE = types.SimpleNamespace(nodes=types.SimpleNamespace(count=1))


class Others:
    def __init__(self):
        self.heard = None

    def begin(self):
        pass

    def part(self, status, error):
        self.heard = status, error


@pytest.mark.parametrize(("status", "error", "fails"), [
    (0, None, False), (1, None, False), (0, SystemExit(0), False), (0, SystemExit(), False),
    (0, SystemExit("The worker cannot listen on 0.0.0.0:80 (PORT): in use"), True), (1, SystemExit(1), True),
    (0, RuntimeError("a fault"), True), (0, KeyboardInterrupt(), False),
])
def test_an_end_in_order_is_told_from_one_as_a_failure(status, error, fails):
    company = Company(ALONE, types.SimpleNamespace(status=status))
    company.others = Others()
    try:
        with company:
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    assert company.others.heard == (status, error if fails else None)


def test_a_worker_that_is_alone_has_no_others_and_no_orders():
    with Company(ALONE, types.SimpleNamespace(status=0)) as company:
        assert company.others is None and company.orders is None
