"""What the text encoder made of prompts, kept on disk: a folder of prompts to come need not wake it

The files may be removed at any time: what is not there, or damaged, is computed.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from darkroom.pipelines.digests import durable

log = logging.getLogger(__name__)

FOLDER = "embeddings"  # beside what the machine has learned
MOST = 64  # files, of 4 MB each
TENSOR = "embedding"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """What computes an embedding: all that its numbers depend on, but for the words."""

    sha256: str  # of the text encoder's and the tokenizer's files
    dtype: str
    device_kind: str  # each rounds in its own way


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The files in `folder`, of one encoder."""

    folder: Path
    encoder: Encoder

    def embedding(self, words: str, compute: Callable[[], Tensor]) -> Tensor:
        """Give the embedding of `words`, kept or computed now; the same numbers either way."""
        path = self.path(words)
        try:
            found = load_file(path)[TENSOR].clone()
        except FileNotFoundError:
            pass
        except (OSError, SafetensorError, KeyError) as error:
            log.warning("%s: cannot be read (%s); computed again", path, error)
        else:
            with suppress(OSError):
                path.touch()  # the last that goes
            return found
        computed = compute().detach().to("cpu")
        self._keep(path, computed)
        return computed

    def path(self, words: str) -> Path:
        """Give where the embedding of `words` lies."""
        of = self.encoder
        key = json.dumps([SCHEMA, words, of.sha256, of.dtype, of.device_kind])
        return self.folder / f"{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:32]}.safetensors"

    def _keep(self, path: Path, tensor: Tensor) -> None:
        """Write `tensor`, and let those go that were not used for longest. A full disk is no fault."""
        try:
            self.folder.mkdir(exist_ok=True)  # in the folder of what is learned, or nowhere
            with durable(path) as draft:
                save_file({TENSOR: tensor.contiguous()}, draft)
            there = sorted(self.folder.glob("*.safetensors"), key=_age)
            for old in there[:-MOST]:
                old.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            log.warning("%s: cannot be written (%s); prompts are read anew each time", self.folder, error)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another worker was faster
        return 0.0
