"""Each preset by the estimator: it fits the GPUs that it names, with as many requests as the table says."""

import pytest

import fit
from builder.presets import Preset
from fit.serving import from_words
from fit.weights import parameters
from settings import config
from tests.flag_samples import SNAPSHOTS
from tests.unit.builder.test_presets import CONFIGS, FORM, NEWEST, PRESETS, each, form


@pytest.mark.parametrize("model", CONFIGS)
def test_a_config_is_the_published_models(model):
    assert parameters(fit.Model(CONFIGS[model]["config"])) == pytest.approx(CONFIGS[model]["parameters"], rel=0.02)


def judged(preset: Preset, pool: str) -> fit.Judgement:
    settings = config.load(form(preset), SNAPSHOTS[NEWEST], preset.gpus, "python3")
    return fit.judge(CONFIGS[preset.model]["config"], pool, preset.gpus, serving=from_words(settings.server_args))


@each
def test_it_fits_the_gpus_that_it_names_with_as_many_requests_as_it_says(preset):
    found = {pool: judged(preset, pool) for pool in preset.pools}
    assert all(one.fits and not one.tight and one.context == preset.context for one in found.values())
    least = min(one.requests for one in found.values())
    assert preset.requests <= least <= 1.25 * preset.requests + 1, "the table says neither too much nor far too little"


@each
def test_fp8_weights_are_for_gpus_that_have_it(preset):
    method = CONFIGS[preset.model]["config"].get("quantization_config", {})
    if method.get("quant_method") in ("fp8", "compressed-tensors"):
        assert all(fit.POOLS[pool].capability >= (8, 9) for pool in preset.pools)


@each
def test_its_weights_and_some_room_are_on_the_disk(preset):
    size = fit.judge(CONFIGS[preset.model]["config"], "BLACKWELL_180", 8, tp_size=1, context_length=2048).weight_bytes
    assert 1.05 * size / 1e9 + 1 <= preset.disk <= 1.25 * size / 1e9 + 5


def test_an_untouched_form_fits_every_gpu_that_the_hub_may_give_it():
    (default,) = (preset for preset in PRESETS if preset.model == next(
        field.default for field in FORM.fields if field.key == "MODEL_NAME"))
    for pool in FORM.hub["pools"]:
        assert judged(default, pool).requests >= 4
