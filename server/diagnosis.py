"""What the server's own output says of why it ended.

Pure: lines in, words out. Robust to lines it does not know, which is most of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SCANNED = 2000  # characters of a line that are looked at: causes stand at its beginning, and requests are long

# Seen on real servers (each pattern is a fragment of a real last line), with what to do about it.
CAUSES = (
    (r"RevisionNotFoundError|Revision Not Found for url|is not a valid git identifier|Invalid rev id",
     "No such revision of the model: check MODEL_REVISION."),
    (r"Repo id must be|RepositoryNotFoundError|Repository Not Found for url|is not a local folder and is not a valid "
     r"model identifier|does not appear to have a file named config\.json|Unrecognized model in",
     "No such model: check MODEL_NAME (a hub repository as owner/name, or a folder that holds config.json), "
     "and HF_TOKEN if the repository is private."),
    (r"GatedRepoError|Cannot access gated repo|access a gated repo|is a gated repository|awaiting a review|"
     r"401 Client Error|403 Client Error",
     "The model is gated or private: accept its licence on the hub and set HF_TOKEN to a token that may read it."),
    (r"LocalEntryNotFoundError|outgoing traffic has been disabled|OfflineModeIsEnabled|We couldn't connect to|"
     r"Name or service not known|Failed to resolve '",
     "The model is not on this machine and the hub could not be reached: check the network, or HF_HUB_OFFLINE."),
    (r"Cannot find any model weights|SafetensorError|InvalidHeaderDeserialization|HeaderTooLarge",
     "The weights are missing or damaged: download the model again, or check LOAD_FORMAT."),
    (r"CUDA out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|"
     r"CUBLAS_STATUS_ALLOC_FAILED",
     "The GPU's memory is too small for this configuration: lower MEM_FRACTION_STATIC or CONTEXT_LENGTH, use a "
     "quantised model, a larger GPU, or more GPUs (TENSOR_PARALLEL_SIZE)."),
    (r"Not enough memory\. Please try to increase --mem-fraction-static",
     "The weights leave no room for the KV cache: raise MEM_FRACTION_STATIC, or use a quantised model, a larger GPU, "
     "or more GPUs (TENSOR_PARALLEL_SIZE)."),
    (r"driver version is insufficient|unsupported display driver|"
     r"CUDA driver version|NVIDIA driver on your system is too old|"
     r"cuda>=|forward compatibility was attempted",
     "The host's NVIDIA driver is older than this image's CUDA: choose hosts with a newer CUDA version in the "
     "endpoint's filter, or use the CUDA 12.9 image."),
    (r"no kernel image is available for execution",
     "This GPU model is not supported by this image's build of SGLang: choose a newer GPU."),
    (r"does not recognize this architecture|Model architectures .* are not supported",
     "The model is of a kind that this SGLang does not know: use an image with a newer SGLang."),
    (r"No CUDA GPUs are available|no NVIDIA driver|Found no NVIDIA|CUDA unknown error|No accelerator",
     "The server sees no GPU: check the endpoint's GPU selection, or set DEVICE=cpu for a CPU machine."),
    (r"address already in use|Errno 98", "The server's port is taken: set SGLANG_PORT to a free one."),
    (r"(setting|argument|option) `trust_remote_code=True`",
     "The model brings its own code: set TRUST_REMOTE_CODE=true if you trust it."),
    (r"is greater than the derived context_length",
     "CONTEXT_LENGTH is above what the model was made for: lower it or leave it out."),
    (r"the following arguments are required|unrecognized arguments|invalid choice|argument --|error: ambiguous",
     "SGLang refused a flag: check SGLANG_EXTRA_ARGS and SGLANG_CONFIG_FILE."),
    (r"is not divisible by|assert .* % .*tp_size|must be divisible by .*(tp_size|tp-size|TP size)|"
     r"total number of ranks .* should be smaller",
     "The model cannot be split over this number of GPUs: set TENSOR_PARALLEL_SIZE."),
)


def diagnose(lines: Sequence[str]) -> str | None:
    """One sentence that says what to do about the newest known cause in the server's output, or None."""
    for line in reversed(lines):
        for pattern, advice in CAUSES:
            if re.search(pattern, line[:SCANNED], re.IGNORECASE):
                return advice
    return None
