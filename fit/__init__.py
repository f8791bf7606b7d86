"""Whether a model fits a GPU: bytes of weights and of the KV cache, and what SGLang makes of a GPU's memory.

In: a model's config.json as a dict, how the server is started, a GPU. Out: a `Judgement`. Pure arithmetic on the
standard library: reads no file, starts nothing. May import: nothing of this project.

    judge(config, gpu="ADA_24", context=16384)          one model on one GPU of a pool of RunPod's
    judge(config, gpu=Gpu("here", 81559), count=2)      on two GPUs of a measured size
    over_pools(config, context=16384)                   on each of RunPod's pools

Further keywords are the fields of `Serving`, which are flags of SGLang. `docs/fitting.md` has the formulae in words.
"""

from fit.gpus import POOLS, Gpu
from fit.judgement import Judgement, judge, over_pools
from fit.model import FitError, Model
from fit.serving import Serving

__all__ = ["POOLS", "FitError", "Gpu", "Judgement", "Model", "Serving", "judge", "over_pools"]
