"""Which codecs there are."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

import voip.codecs
from voip.codecs.registry import REGISTRY, available, get
from voip.errors import UnsupportedCodecError

NEEDS_AV = ("opus", "g722")


def test_with_av_all_codecs_are_there_best_first():
    assert list(available(with_av=True)) == ["opus", "g722", "pcma", "pcmu", "l16"]


def test_without_av_the_numpy_codecs_are_there():
    assert list(available(with_av=False)) == ["pcma", "pcmu", "l16"]


def test_the_registry_is_what_this_installation_has():
    assert list(REGISTRY) == list(available(with_av=find_spec("av") is not None))
    assert all(codec.encoding_name == name for name, codec in REGISTRY.items())


def test_names_are_compared_without_case():
    assert get("PCMU") is voip.codecs.PCMU
    assert voip.codecs.get("pcma") is voip.codecs.PCMA
    assert voip.codecs.L16 is REGISTRY["l16"]


def test_an_unknown_name_is_told_what_is_supported():
    with pytest.raises(UnsupportedCodecError, match=r"Unsupported codec 'speex'.*pcmu"):
        get("speex")
    with pytest.raises(NotImplementedError):
        get("speex")


def test_importing_the_codecs_loads_no_av():
    code = (
        "import sys, voip.codecs; assert 'numpy' not in sys.modules; "
        "voip.codecs.REGISTRY; assert 'av' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
