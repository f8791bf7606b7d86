import pytest

from tests.unit.start.kernel_folders import write


@pytest.fixture
def root(tmp_path):
    """A folder with two kernels in it."""
    write(tmp_path / "root", triton__kDOTcubin="kernel", flashinfer__opDOTso="library" * 100)
    return str(tmp_path / "root")
