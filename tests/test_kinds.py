import subprocess
import sys

import pytest

from darkroom.pipelines import KINDS, make, options_of
from darkroom.pipelines.base import Site

WITHOUT = """
import sys
sys.modules["pikepdf"] = None
from darkroom.pipelines import make, options_of
from darkroom.pipelines.base import Site
make("ocr", options_of("ocr")(), Site())
"""


@pytest.mark.parametrize("name", KINDS)
def test_each_pipeline_is_made_of_its_options(name: str) -> None:
    assert type(make(name, options_of(name)(), Site())).__name__ == name.title()


def test_a_package_of_an_extra_that_is_not_installed_is_named_with_the_way_to_it() -> None:
    made = subprocess.run([sys.executable, "-P", "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert "Unavailable: ocr: pikepdf is not installed; pip install 'darkroomd[ocr]'" in made.stderr
