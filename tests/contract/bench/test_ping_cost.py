"""The bench of what pings cost runs, and counts bytes and pings as they are sent."""

import subprocess
import sys

from tests.support import ROOT


def test_each_number_of_jobs_has_a_row():
    done = subprocess.run([sys.executable, "-m", "bench.ping_cost", "10,400"], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert [(jobs, address, pings) for jobs, _, _, address, pings in rows] == [
        ("10", "582", "1"), ("400", "18,912", "3")]
    assert all(float(number) >= 0 for row in rows for number in row[1:3])
